#include "nasc.h"

const char *nasc_error_text(int code) {
  switch (code) {
    case NASC_OK:
      return "no error";
    case NASC_BAD_ARGUMENT:
      return "an argument is wrong: a pointer is NULL, a number is out of its range, or memory is "
             "too small";
    case NASC_BAD_LENGTH:
      return "a text has no tokens, or more than fit (nasc_max_length, or max_length of the "
             "context): cut it";
    case NASC_BAD_TOKEN:
      return "an id is no token: they are from 0 to nasc_tokens() - 1. Use this network's tokenizer";
    case NASC_BAD_MASK:
      return "the mask holds something else than 0 and 1";
    case NASC_NOT_READY:
      return "nasc_init was not called, or did not end well";
    case NASC_BUSY:
      return "the context is in another call: make one for each thread";
    case NASC_NO_MEMORY:
      return "the system gives no memory";
    case NASC_NO_THREADS:
      return "the system gives no threads";
    case NASC_NO_FILE:
      return "the weights file cannot be read";
    case NASC_DAMAGED:
      return "the weights file is damaged or cut short: copy it anew";
    case NASC_OTHER_NETWORK:
      return "the weights file is of another network: take the one that came with this library";
    case NASC_WRONG_PROCESSOR:
      return "the processor lacks instructions that this library was made for: make it anew for "
             "this processor";
    case NASC_INIT_TWICE:
      return "nasc_init was called before: call nasc_quit between";
    default:
      return "an unknown error";
  }
}
