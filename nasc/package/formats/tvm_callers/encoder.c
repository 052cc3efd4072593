#define _POSIX_C_SOURCE 200809L

#include "encoder.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tvm-ffi/c_api.h"

#include "model.h"

enum { ALIGNMENT = 64, POOLED = 2, FUNCTIONS = sizeof nasc_functions / sizeof *nasc_functions };

struct nasc_encoder {
  TVMFFIObjectHandle machine;
  TVMFFIObjectHandle functions[FUNCTIONS];
};

static _Thread_local char message[1000];

const char *nasc_encoder_error(void) { return message; }

static int failed(const char *what) {
  TVMFFIObjectHandle raised = NULL;
  TVMFFIErrorMoveFromRaised(&raised);
  if (raised == NULL) {
    snprintf(message, sizeof message, "%s", what);
    return -1;
  }
  const TVMFFIErrorCell *error = (const TVMFFIErrorCell *)((const TVMFFIObject *)raised + 1);
  snprintf(message, sizeof message, "%s: %.*s", what, (int)error->message.size,
           error->message.data);
  TVMFFIObjectDecRef(raised);
  return -1;
}

static void release(TVMFFIAny *value) {
  if (value->type_index >= kTVMFFIStaticObjectBegin) TVMFFIObjectDecRef(value->v_obj);
  memset(value, 0, sizeof *value);
}

static TVMFFIAny integer(int64_t value) {
  TVMFFIAny found = {0};
  found.type_index = kTVMFFIInt;
  found.v_int64 = value;
  return found;
}

static TVMFFIAny text(const char *value) {
  TVMFFIAny found = {0};
  found.type_index = kTVMFFIRawStr;
  found.v_c_str = value;
  return found;
}

static TVMFFIAny object(TVMFFIObjectHandle handle) {
  TVMFFIAny found = {0};
  found.type_index = ((const TVMFFIObject *)handle)->type_index;
  found.v_obj = (TVMFFIObject *)handle;
  return found;
}

/* Calls one of TVM's own functions. */
static int call_global(const char *name, TVMFFIAny *arguments, int count, TVMFFIAny *result) {
  TVMFFIByteArray bytes = {name, strlen(name)};
  TVMFFIObjectHandle function = NULL;
  memset(result, 0, sizeof *result);
  if (TVMFFIFunctionGetGlobal(&bytes, &function) != 0 || function == NULL) return failed(name);
  int status = TVMFFIFunctionCall(function, arguments, count, result);
  TVMFFIObjectDecRef(function);
  return status == 0 ? 0 : failed(name);
}

/* A function of a module, or NULL. */
static TVMFFIObjectHandle function_of(TVMFFIObjectHandle module, const char *name) {
  TVMFFIAny arguments[3] = {object(module), text(name), {0}}, found;
  arguments[2].type_index = kTVMFFIBool;
  if (call_global("ffi.ModuleGetFunction", arguments, 3, &found) != 0) return NULL;
  if (found.type_index != kTVMFFIFunction) {
    release(&found);
    failed(name);
    return NULL;
  }
  return found.v_obj;
}

static int call_of(TVMFFIObjectHandle module, const char *name, TVMFFIAny *arguments, int count,
                   TVMFFIAny *result) {
  TVMFFIObjectHandle function = function_of(module, name);
  memset(result, 0, sizeof *result);
  if (function == NULL) return -1;
  int status = TVMFFIFunctionCall(function, arguments, count, result);
  TVMFFIObjectDecRef(function);
  return status == 0 ? 0 : failed(name);
}

/* Loads the runtime, which finds libtvm_ffi.so where this program has it from. It stays loaded. */
static int load_runtime(const char *path) {
  if (dlopen(path, RTLD_NOW | RTLD_GLOBAL) != NULL) return 0;
  snprintf(message, sizeof message, "%s", dlerror());
  return -1;
}

static int open_machine(nasc_encoder *encoder, const char *path) {
  TVMFFIAny argument = text(path), library, machine, nothing;
  TVMFFIAny device[3] = {integer(kDLCPU), integer(0), integer(POOLED)};
  if (call_global("ffi.ModuleLoadFromFile", &argument, 1, &library) != 0) return -1;
  int status = call_of(library.v_obj, "vm_load_executable", NULL, 0, &machine);
  release(&library);
  if (status != 0) return status;
  encoder->machine = machine.v_obj;
  status = call_of(encoder->machine, "vm_initialization", device, 3, &nothing);
  release(&nothing);
  for (int i = 0; i < FUNCTIONS && status == 0; i++) {
    encoder->functions[i] = function_of(encoder->machine, nasc_functions[i].name);
    if (encoder->functions[i] == NULL) status = -1;
  }
  return status;
}

static int set_threads(int threads) {
  TVMFFIAny arguments[2] = {integer(1), integer(threads)}, found;
  if (call_global("runtime.config_threadpool", arguments, 2, &found) != 0) return -1;
  release(&found);
  if (call_global("runtime.NumThreads", NULL, 0, &found) != 0) return -1;
  if (found.v_int64 == threads) return 0;
  snprintf(message, sizeof message, "%d threads were asked for, TVM runs %d here", threads,
           (int)found.v_int64);
  return -1;
}

nasc_encoder *nasc_encoder_open(const char *folder, int threads) {
  message[0] = '\0';
  setenv("TVM_BIND_THREADS", "0", 0); /* on which cores threads run is the caller's to say */
  size_t size = strlen(folder) + sizeof "/libtvm_runtime.so";
  char *path = malloc(size);
  nasc_encoder *encoder = calloc(1, sizeof *encoder);
  int status = path == NULL || encoder == NULL ? failed("no memory") : 0;
  if (status == 0) {
    snprintf(path, size, "%s/libtvm_runtime.so", folder);
    status = load_runtime(path);
  }
  if (status == 0) {
    snprintf(path, size, "%s/model.so", folder);
    status = open_machine(encoder, path);
  }
  if (status == 0) status = set_threads(threads);
  free(path);
  if (status == 0) return encoder;
  nasc_encoder_close(encoder);
  return NULL;
}

void nasc_encoder_close(nasc_encoder *encoder) {
  if (encoder == NULL) return;
  for (int i = 0; i < FUNCTIONS; i++) {
    if (encoder->functions[i] != NULL) TVMFFIObjectDecRef(encoder->functions[i]);
  }
  if (encoder->machine != NULL) TVMFFIObjectDecRef(encoder->machine);
  free(encoder);
}

size_t nasc_encoder_numbers(int batch, int seq_len) {
  return (size_t)batch * NASC_NUMBERS * (NASC_TOKEN_AXIS == 0 ? 1 : (size_t)seq_len);
}

static void free_tensor(DLManagedTensor *tensor) {
  free(tensor->dl_tensor.data);
  free(tensor);
}

/* Rows of an input, each padded with zeros, as a tensor of TVM. */
static int tensor_of(const int64_t *rows, int batch, int seq_len, int padded, TVMFFIAny *out) {
  size_t size = ((size_t)batch * padded * sizeof(int64_t) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  DLManagedTensor *tensor = calloc(1, sizeof *tensor + 2 * sizeof(int64_t));
  int64_t *data = aligned_alloc(ALIGNMENT, size);
  if (tensor == NULL || data == NULL) {
    free(tensor);
    free(data);
    return failed("no memory");
  }
  memset(data, 0, size);
  for (int row = 0; row < batch; row++) {
    memcpy(data + (size_t)row * padded, rows + (size_t)row * seq_len, seq_len * sizeof *rows);
  }
  int64_t *shape = (int64_t *)(tensor + 1);
  shape[0] = batch;
  shape[1] = padded;
  tensor->dl_tensor.data = data;
  tensor->dl_tensor.device.device_type = kDLCPU;
  tensor->dl_tensor.ndim = 2;
  tensor->dl_tensor.dtype = (DLDataType){kDLInt, 64, 1};
  tensor->dl_tensor.shape = shape;
  tensor->deleter = free_tensor;
  TVMFFIObjectHandle handle = NULL;
  if (TVMFFITensorFromDLPack(tensor, ALIGNMENT, 1, &handle) != 0) {
    free_tensor(tensor);
    return failed("an input");
  }
  *out = object(handle);
  return 0;
}

/* Copies the first output of a run: what of it belongs to the texts' own tokens. */
static int copy_output(const TVMFFIAny *found, int batch, int seq_len, int padded, float *output) {
  const TVMFFIAny *first = found;
  if (found->type_index == kTVMFFIArray) {
    const TVMFFISeqCell *array = (const TVMFFISeqCell *)(found->v_obj + 1);
    first = array->size > 0 ? array->data : NULL;
  }
  if (first == NULL || first->type_index != kTVMFFITensor) return failed("it gives no tensor");
  const DLTensor *tensor = (const DLTensor *)(first->v_obj + 1);
  size_t numbers = 1;
  for (int axis = 0; axis < tensor->ndim; axis++) numbers *= (size_t)tensor->shape[axis];
  if (tensor->dtype.code != kDLFloat || tensor->dtype.bits != 32 ||
      numbers != nasc_encoder_numbers(batch, padded)) {
    return failed("it gives something else than model.h says");
  }
  const float *data = (const float *)((const char *)tensor->data + tensor->byte_offset);
  /* (batch, numbers), (batch, tokens, numbers) or (batch, numbers, tokens) */
  size_t rows = batch, from = NASC_NUMBERS, to = NASC_NUMBERS;
  if (NASC_TOKEN_AXIS == 1) {
    from *= padded;
    to *= seq_len;
  } else if (NASC_TOKEN_AXIS == 2) {
    rows *= NASC_NUMBERS;
    from = padded;
    to = seq_len;
  }
  for (size_t row = 0; row < rows; row++) memcpy(output + row * to, data + row * from, to * 4);
  return 0;
}

static int run_part(nasc_encoder *encoder, int which, const int64_t *ids, const int64_t *mask,
                    int batch, int seq_len, float *output) {
  TVMFFIAny inputs[2] = {{0}, {0}}, found = {0};
  int padded = nasc_functions[which].seq_len;
  int status = tensor_of(ids, batch, seq_len, padded, &inputs[0]);
  if (status == 0) status = tensor_of(mask, batch, seq_len, padded, &inputs[1]);
  if (status == 0 && TVMFFIFunctionCall(encoder->functions[which], inputs, 2, &found) != 0) {
    status = failed("the network");
  }
  if (status == 0) status = copy_output(&found, batch, seq_len, padded, output);
  release(&found);
  release(&inputs[0]);
  release(&inputs[1]);
  return status;
}

int nasc_encoder_run(nasc_encoder *encoder, const int64_t *ids, const int64_t *mask, int batch,
                     int seq_len, float *output) {
  message[0] = '\0';
  int which = 0;
  while (which < FUNCTIONS && nasc_functions[which].seq_len < seq_len) which++;
  if (batch < 1 || seq_len < 1 || which == FUNCTIONS) {
    snprintf(message, sizeof message, "%d texts of %d tokens: it takes texts of 1 to %d", batch,
             seq_len, nasc_functions[FUNCTIONS - 1].seq_len);
    return -1;
  }
  int step = nasc_functions[which].batch;
  if (batch % step != 0 || (NASC_FIXED_SHAPE && batch != step) ||
      (NASC_FIXED_SHAPE && seq_len != nasc_functions[which].seq_len)) {
    snprintf(message, sizeof message, "%d texts of %d tokens: it takes %d of %d", batch, seq_len,
             step, nasc_functions[which].seq_len);
    return -1;
  }
  size_t tokens = (size_t)batch * (size_t)seq_len;
  for (size_t i = 0; i < tokens; i++) {
    if (ids[i] < 0 || ids[i] >= NASC_TOKENS) {
      snprintf(message, sizeof message, "%lld is no token: they are from 0 to %d",
               (long long)ids[i], NASC_TOKENS - 1);
      return -1;
    }
    if (mask[i] != 0 && mask[i] != 1) {
      snprintf(message, sizeof message, "the mask holds something else than 0 and 1");
      return -1;
    }
  }
  for (int at = 0; at < batch; at += step) {
    size_t start = (size_t)at * (size_t)seq_len;
    int status = run_part(encoder, which, ids + start, mask + start, step, seq_len,
                          output + nasc_encoder_numbers(at, seq_len));
    if (status != 0) return status;
  }
  return 0;
}
