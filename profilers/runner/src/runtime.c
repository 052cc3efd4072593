#include "runtime.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* Names of the exceptions that its interface for Python raises, and its names, by code. */
static const struct {
  const char *exception;
  const char *code;
} ERRORS[] = {
    {"Fail", "OK"},
    {"Fail", "FAIL"},
    {"InvalidArgument", "INVALID_ARGUMENT"},
    {"NoSuchFile", "NO_SUCHFILE"},
    {"NoModel", "NO_MODEL"},
    {"EngineError", "ENGINE_ERROR"},
    {"RuntimeException", "RUNTIME_EXCEPTION"},
    {"InvalidProtobuf", "INVALID_PROTOBUF"},
    {"ModelLoaded", "MODEL_LOADED"},
    {"NotImplemented", "NOT_IMPLEMENTED"},
    {"InvalidGraph", "INVALID_GRAPH"},
    {"EPFail", "EP_FAIL"},
};

/* How onnxruntime, whose errors are all of a kind, says that memory is not given. */
static const char *const OUT_OF_MEMORY[] = {"ailed to allocate memory", "bad_alloc",
                                            "bad allocation"};

bool runtime_ok(const struct runtime *runtime, OrtStatus *status, struct failure *failure) {
  if (status == NULL) {
    return true;
  }
  int code = ORT(runtime->api, GetErrorCode)(status);
  const char *message = ORT(runtime->api, GetErrorMessage)(status);
  const char *kind = KIND_MODEL;
  for (size_t i = 0; i < sizeof OUT_OF_MEMORY / sizeof *OUT_OF_MEMORY; i++) {
    if (strstr(message, OUT_OF_MEMORY[i]) != NULL) {
      kind = KIND_MEMORY;
    }
  }
  size_t known = sizeof ERRORS / sizeof *ERRORS;
  size_t row = code >= 0 && (size_t)code < known ? (size_t)code : 1;
  (void)fail(failure, kind, "%s: [ONNXRuntimeError] : %d : %s : %s", ERRORS[row].exception, code,
             ERRORS[row].code, message);
  ORT(runtime->api, ReleaseStatus)(status);
  return false;
}

void runtime_free(const struct runtime *runtime, void *memory) {
  struct failure ignored;
  if (memory != NULL) {
    (void)runtime_ok(runtime, ORT(runtime->api, AllocatorFree)(runtime->allocator, memory),
                     &ignored);
  }
}

static bool cannot_load(struct failure *failure, const char *library, const char *reason) {
  return fail(failure, KIND_RUNTIME, "the library of onnxruntime '%.500s' cannot be loaded: %.500s",
              library, reason);
}

bool runtime_load(struct runtime *runtime, const char *library, struct failure *failure) {
  if (runtime->api != NULL) {
    return true;
  }
  /* Official builds write a device id into the user's cache, and send it; the variable is read
   * once, when the library is loaded. Whoever set it is obeyed. */
  (void)setenv("ORT_DISABLE_TELEMETRY", "1", 0);
  void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (handle == NULL) {
    return cannot_load(failure, library, dlerror());
  }
  void *symbol = dlsym(handle, "OrtGetApiBase");
  if (symbol == NULL) {
    return cannot_load(failure, library, "it has no OrtGetApiBase");
  }
  const OrtApiBase *(*get_base)(void) = NULL;
  memcpy(&get_base, &symbol, sizeof get_base); /* C has no other way from data to a function */
  const OrtApiBase *base = get_base();
  struct runtime loaded = {.version = base->GetVersionString()};
  loaded.api = base->GetApi(ORT_ABI_VERSION);
  if (loaded.api == NULL) {
    return fail(failure, KIND_RUNTIME,
                "onnxruntime %s is too old: the native worker needs 1.%d or later",
                loaded.version, ORT_ABI_VERSION);
  }
  OrtStatus *status = ORT(loaded.api, CreateEnv)(ORT_LOGGING_LEVEL_ERROR, "nasc", &loaded.env);
  if (status == NULL) {
    status = ORT(loaded.api, GetAllocatorWithDefaultOptions)(&loaded.allocator);
  }
  if (!runtime_ok(&loaded, status, failure)) {
    failure->kind = KIND_RUNTIME;
    return false;
  }
  *runtime = loaded;
  return true;
}
