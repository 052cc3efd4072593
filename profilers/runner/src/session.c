#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "dtypes.h"
#include "json_write.h"

enum { LOG_ERRORS = 3 };

typedef bool (*namer)(const struct session *session, size_t i, char **name,
                      struct failure *failure);

static bool set_up(const struct runtime *runtime, const struct options *options,
                   OrtSessionOptions *settings, struct failure *failure) {
  const OrtApi *api = runtime->api;
  OrtStatus *(*arena)(OrtSessionOptions *) =
      options->arena ? ORT(api, EnableCpuMemArena) : ORT(api, DisableCpuMemArena);
  return runtime_ok(runtime, ORT(api, SetIntraOpNumThreads)(settings, options->threads),
                    failure) &&
         runtime_ok(runtime, ORT(api, SetInterOpNumThreads)(settings, 1), failure) &&
         runtime_ok(runtime, ORT(api, SetSessionExecutionMode)(settings, ORT_SEQUENTIAL),
                    failure) &&
         runtime_ok(runtime,
                    ORT(api, SetSessionGraphOptimizationLevel)(settings, options->optimization),
                    failure) &&
         runtime_ok(runtime, arena(settings), failure) &&
         runtime_ok(runtime, ORT(api, SetSessionLogSeverityLevel)(settings, LOG_ERRORS),
                    failure) &&
         runtime_ok(runtime,
                    ORT(api, AddSessionConfigEntry)(settings, "session.intra_op.allow_spinning",
                                                    options->spinning ? "1" : "0"),
                    failure);
}

static bool input_name(const struct session *session, size_t i, char **name,
                       struct failure *failure) {
  const struct runtime *runtime = session->runtime;
  return runtime_ok(runtime,
                    ORT(runtime->api, SessionGetInputName)(session->handle, i, runtime->allocator,
                                                           name),
                    failure);
}

static bool output_name(const struct session *session, size_t i, char **name,
                        struct failure *failure) {
  const struct runtime *runtime = session->runtime;
  return runtime_ok(runtime,
                    ORT(runtime->api, SessionGetOutputName)(session->handle, i,
                                                            runtime->allocator, name),
                    failure);
}

static bool read_names(const struct session *session, size_t count, namer get, char ***names,
                       struct failure *failure) {
  *names = calloc(count + 1, sizeof **names);
  if (*names == NULL) {
    return fail_memory(failure);
  }
  for (size_t i = 0; i < count; i++) {
    if (!get(session, i, &(*names)[i], failure)) {
      return false;
    }
  }
  return true;
}

static bool create(const struct options *options, const char *path, struct session *session,
                   struct failure *failure) {
  const struct runtime *runtime = session->runtime;
  OrtSessionOptions *settings = NULL;
  if (!runtime_ok(runtime, ORT(runtime->api, CreateSessionOptions)(&settings), failure)) {
    return false;
  }
  bool done = set_up(runtime, options, settings, failure) &&
              runtime_ok(runtime,
                         ORT(runtime->api, CreateSession)(runtime->env, path, settings,
                                                          &session->handle),
                         failure);
  ORT(runtime->api, ReleaseSessionOptions)(settings);
  return done;
}

static bool look_at(struct session *session, struct failure *failure) {
  const struct runtime *runtime = session->runtime;
  size_t inputs = 0;
  size_t outputs = 0;
  if (!runtime_ok(runtime, ORT(runtime->api, SessionGetInputCount)(session->handle, &inputs),
                  failure) ||
      !runtime_ok(runtime, ORT(runtime->api, SessionGetOutputCount)(session->handle, &outputs),
                  failure)) {
    return false;
  }
  session->input_count = inputs;
  session->output_count = outputs;
  session->outputs = calloc(outputs + 1, sizeof(OrtValue *));
  if (session->outputs == NULL) {
    return fail_memory(failure);
  }
  return read_names(session, inputs, input_name, &session->input_names, failure) &&
         read_names(session, outputs, output_name, &session->output_names, failure);
}

bool session_open(const struct runtime *runtime, const struct options *options, struct text path,
                  struct session *session, struct failure *failure) {
  *session = (struct session){.runtime = runtime};
  if (!text_is_plain(path)) {
    return fail(failure, KIND_MODEL, "ValueError: embedded null byte");
  }
  char *plain = text_copy(path);
  if (plain == NULL) {
    return fail_memory(failure);
  }
  bool done = create(options, plain, session, failure) && look_at(session, failure);
  free(plain);
  return done;
}

static void free_names(const struct runtime *runtime, char **names, size_t count) {
  for (size_t i = 0; names != NULL && i < count; i++) {
    runtime_free(runtime, names[i]);
  }
  free(names);
}

void session_close(struct session *session) {
  const struct runtime *runtime = session->runtime;
  session_drop_outputs(session);
  free_names(runtime, session->input_names, session->input_count);
  free_names(runtime, session->output_names, session->output_count);
  free(session->outputs);
  if (session->handle != NULL) {
    ORT(runtime->api, ReleaseSession)(session->handle);
  }
  *session = (struct session){.runtime = runtime};
}

bool session_run(struct session *session, const struct feeds *feeds, struct failure *failure) {
  const OrtApi *api = session->runtime->api;
  session_drop_outputs(session);
  OrtStatus *status = ORT(api, Run)(
      session->handle, NULL, (const char *const *)feeds->names,
      (const OrtValue *const *)feeds->values, feeds->count,
      (const char *const *)session->output_names, session->output_count, session->outputs);
  return runtime_ok(session->runtime, status, failure);
}

void session_drop_outputs(struct session *session) {
  for (size_t i = 0; session->outputs != NULL && i < session->output_count; i++) {
    if (session->outputs[i] != NULL) {
      ORT(session->runtime->api, ReleaseValue)(session->outputs[i]);
      session->outputs[i] = NULL;
    }
  }
}

static bool has_name(char *const *names, size_t count, const char *name) {
  for (size_t i = 0; i < count; i++) {
    if (strcmp(names[i], name) == 0) {
      return true;
    }
  }
  return false;
}

static int compare_names(const void *one, const void *other) {
  return strcmp(*(char *const *)one, *(char *const *)other);
}

/* Appends "['a', 'b']". */
static void list_names(struct buffer *out, char *const *names, size_t count) {
  char **sorted = malloc((count + 1) * sizeof *sorted);
  if (sorted == NULL) {
    out->failed = true;
    return;
  }
  memcpy(sorted, names, count * sizeof *sorted);
  qsort(sorted, count, sizeof *sorted, compare_names);
  buffer_string(out, "[");
  for (size_t i = 0; i < count; i++) {
    buffer_string(out, i == 0 ? "'" : ", '");
    buffer_string(out, sorted[i]);
    buffer_string(out, "'");
  }
  buffer_string(out, "]");
  free(sorted);
}

bool session_check_feeds(const struct session *session, const struct feeds *feeds,
                         struct failure *failure) {
  bool same = feeds->count == session->input_count;
  for (size_t i = 0; same && i < feeds->count; i++) {
    same = has_name(session->input_names, session->input_count, feeds->names[i]);
  }
  if (same) {
    return true;
  }
  struct buffer text = {0};
  buffer_string(&text, "it has the inputs ");
  list_names(&text, session->input_names, session->input_count);
  buffer_string(&text, ", but ");
  list_names(&text, feeds->names, feeds->count);
  buffer_string(&text, " were described");
  (void)(text.failed ? fail_memory(failure)
                     : fail(failure, KIND_MODEL, "%.*s", (int)text.size, text.data));
  buffer_free(&text);
  return false;
}

/* What is no tensor is called by its kind and has no axes. */
static const char *kind_name(ONNXType type) {
  static const char *const names[] = {"unknown", "tensor", "sequence",
                                      "map",     "opaque", "sparse_tensor", "optional"};
  return type >= 0 && (size_t)type < sizeof names / sizeof *names ? names[type] : names[0];
}

static void write_axis(struct buffer *out, int64_t size, const char *symbol) {
  if (size >= 0) {
    json_integer(out, size);
  } else if (symbol != NULL && symbol[0] != '\0') {
    json_string(out, symbol);
  } else {
    json_null(out);
  }
}

static bool write_axes(const struct runtime *runtime, const OrtTensorTypeAndShapeInfo *info,
                       struct buffer *out, struct failure *failure) {
  size_t count = 0;
  if (!runtime_ok(runtime, ORT(runtime->api, GetDimensionsCount)(info, &count), failure)) {
    return false;
  }
  int64_t *sizes = calloc(count + 1, sizeof *sizes);
  const char **symbols = calloc(count + 1, sizeof *symbols);
  bool done = sizes != NULL && symbols != NULL ? true : fail_memory(failure);
  done = done &&
         runtime_ok(runtime, ORT(runtime->api, GetDimensions)(info, sizes, count), failure) &&
         runtime_ok(runtime, ORT(runtime->api, GetSymbolicDimensions)(info, symbols, count),
                    failure);
  json_open(out, '[');
  for (size_t i = 0; done && i < count; i++) {
    write_axis(out, sizes[i], symbols[i]);
  }
  json_close(out, ']');
  free(sizes);
  free(symbols);
  return done;
}

/* Writes [DTYPE, AXES]. */
static bool write_type(const struct runtime *runtime, const OrtTypeInfo *info, struct buffer *out,
                       struct failure *failure) {
  const OrtTensorTypeAndShapeInfo *tensor = NULL;
  ONNXType kind = ONNX_TYPE_UNKNOWN;
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  if (!runtime_ok(runtime, ORT(runtime->api, GetOnnxTypeFromTypeInfo)(info, &kind), failure) ||
      !runtime_ok(runtime, ORT(runtime->api, CastTypeInfoToTensorInfo)(info, &tensor), failure)) {
    return false;
  }
  json_open(out, '[');
  if (tensor == NULL) {
    json_string(out, kind_name(kind));
    json_open(out, '[');
    json_close(out, ']');
    json_close(out, ']');
    return true;
  }
  if (!runtime_ok(runtime, ORT(runtime->api, GetTensorElementType)(tensor, &type), failure)) {
    return false;
  }
  json_string(out, dtype_of(type)->name);
  bool done = write_axes(runtime, tensor, out, failure);
  json_close(out, ']');
  return done;
}

typedef OrtStatus *(*type_getter)(const OrtSession *, size_t, OrtTypeInfo **);

static bool write_values(const struct session *session, char *const *names, size_t count,
                         type_getter get, struct buffer *out, struct failure *failure) {
  const struct runtime *runtime = session->runtime;
  json_open(out, '{');
  for (size_t i = 0; i < count; i++) {
    OrtTypeInfo *info = NULL;
    json_key(out, names[i]);
    if (!runtime_ok(runtime, get(session->handle, i, &info), failure)) {
      return false;
    }
    bool done = write_type(runtime, info, out, failure);
    ORT(runtime->api, ReleaseTypeInfo)(info);
    if (!done) {
      return false;
    }
  }
  json_close(out, '}');
  return true;
}

bool session_write_inputs(const struct session *session, struct buffer *out,
                          struct failure *failure) {
  return write_values(session, session->input_names, session->input_count,
                      ORT(session->runtime->api, SessionGetInputTypeInfo), out, failure);
}

bool session_write_outputs(const struct session *session, struct buffer *out,
                           struct failure *failure) {
  return write_values(session, session->output_names, session->output_count,
                      ORT(session->runtime->api, SessionGetOutputTypeInfo), out, failure);
}

static bool write_entries(const struct runtime *runtime, const OrtModelMetadata *metadata,
                          struct buffer *out, struct failure *failure) {
  char **keys = NULL;
  int64_t count = 0;
  bool done = runtime_ok(runtime,
                         ORT(runtime->api, ModelMetadataGetCustomMetadataMapKeys)(
                             metadata, runtime->allocator, &keys, &count),
                         failure);
  for (int64_t i = 0; done && i < count; i++) {
    char *value = NULL;
    done = runtime_ok(runtime,
                      ORT(runtime->api, ModelMetadataLookupCustomMetadataMap)(
                          metadata, runtime->allocator, keys[i], &value),
                      failure);
    if (done && value != NULL) {
      json_key(out, keys[i]);
      json_string(out, value);
    }
    runtime_free(runtime, value);
  }
  for (int64_t i = 0; keys != NULL && i < count; i++) {
    runtime_free(runtime, keys[i]);
  }
  runtime_free(runtime, keys);
  return done;
}

bool session_write_metadata(const struct session *session, struct buffer *out,
                            struct failure *failure) {
  const struct runtime *runtime = session->runtime;
  OrtModelMetadata *metadata = NULL;
  if (!runtime_ok(runtime, ORT(runtime->api, SessionGetModelMetadata)(session->handle, &metadata),
                  failure)) {
    return false;
  }
  json_open(out, '{');
  bool done = write_entries(runtime, metadata, out, failure);
  json_close(out, '}');
  ORT(runtime->api, ReleaseModelMetadata)(metadata);
  return done;
}
