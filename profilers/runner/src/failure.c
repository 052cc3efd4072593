#include "failure.h"

#include <stdarg.h>
#include <stdio.h>

bool fail(struct failure *failure, const char *kind, const char *format, ...) {
  va_list arguments;
  failure->kind = kind;
  failure->name = (struct text){NULL, 0};
  va_start(arguments, format);
  (void)vsnprintf(failure->message, sizeof failure->message, format, arguments);
  va_end(arguments);
  return false;
}

bool fail_memory(struct failure *failure) {
  return fail(failure, KIND_MEMORY, "it needs more memory than it may have");
}
