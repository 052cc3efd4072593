#include "tensors.h"

#include <stdint.h>
#include <stdlib.h>

#include "base64.h"
#include "dtypes.h"
#include "json_write.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "arrays cross the pipe in little-endian order, and are not turned round"
#endif

/* Inputs of a model; those of text encoders are three. */
enum { MAX_INPUTS = 1024 };

/* Reads a shape; the count of elements stays below 2^60. */
static bool read_shape(const struct json_value *shape, int64_t axes[MAX_AXES], size_t *elements,
                       struct failure *failure) {
  size_t axis = 0;
  *elements = 1;
  if (shape == NULL || shape->type != JSON_ARRAY || shape->count > MAX_AXES) {
    return fail(failure, KIND_REQUEST, "an array's shape must be a list of at most 16 sizes");
  }
  for (const struct json_value *one = shape->first; one != NULL; one = one->next) {
    if (one->type != JSON_INTEGER || one->integer < 0 || one->integer > INT32_MAX) {
      return fail(failure, KIND_REQUEST, "an axis must be a whole number from 0 to 2^31 - 1");
    }
    axes[axis++] = one->integer;
    if (one->integer > 0 && *elements > ((size_t)1 << 60) / (size_t)one->integer) {
      return fail(failure, KIND_REQUEST, "an array has too many values");
    }
    *elements *= (size_t)one->integer;
  }
  return true;
}

static void make_true_or_false(unsigned char *values, size_t count) {
  for (size_t i = 0; i < count; i++) {
    values[i] = values[i] != 0;
  }
}

static bool read_array(const struct runtime *runtime, const struct json_value *array,
                       OrtValue **value, struct failure *failure) {
  const struct json_value *name = json_member(array, "dtype");
  const struct json_value *data = json_member(array, "data");
  int64_t axes[MAX_AXES] = {0};
  size_t elements = 0;
  void *memory = NULL;
  if (name == NULL || name->type != JSON_STRING || data == NULL || data->type != JSON_STRING) {
    return fail(failure, KIND_REQUEST, "an array must be an object with dtype, shape and data");
  }
  const struct dtype *dtype = dtype_named(name->string);
  if (dtype == NULL) {
    return fail(failure, KIND_REQUEST, "type '%.*s' cannot be sent", SHOWN(name->string));
  }
  const struct json_value *shape = json_member(array, "shape");
  if (!read_shape(shape, axes, &elements, failure)) {
    return false;
  }
  if (!base64_fits(data->string, elements * dtype->size)) {
    return fail(failure, KIND_REQUEST, "an array's data must be the base64 of %zu bytes",
                elements * dtype->size);
  }
  if (!runtime_ok(runtime,
                  ORT(runtime->api, CreateTensorAsOrtValue)(runtime->allocator, axes, shape->count,
                                                            dtype->type, value),
                  failure)) {
    return false;
  }
  if (elements == 0) {
    return true;
  }
  if (!runtime_ok(runtime, ORT(runtime->api, GetTensorMutableData)(*value, &memory), failure)) {
    return false;
  }
  if (!base64_decode(data->string, memory, elements * dtype->size)) {
    return fail(failure, KIND_REQUEST, "an array's data is no base64");
  }
  if (dtype->type == ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL) {
    make_true_or_false(memory, elements);
  }
  return true;
}

/* Whether a member of the same name comes later: that one counts. */
static bool named_later(const struct json_value *member) {
  for (const struct json_value *one = member->next; one != NULL; one = one->next) {
    if (text_equal(one->key, member->key)) {
      return true;
    }
  }
  return false;
}

static bool read_members(const struct runtime *runtime, const struct json_value *inputs,
                         struct feeds *feeds, struct failure *failure) {
  for (const struct json_value *one = inputs->first; one != NULL; one = one->next) {
    if (named_later(one)) {
      continue;
    }
    if (!text_is_plain(one->key)) {
      return fail(failure, KIND_REQUEST, "an input's name holds a NUL");
    }
    char *name = text_copy(one->key);
    if (name == NULL) {
      return fail_memory(failure);
    }
    size_t i = feeds->count++;
    feeds->names[i] = name;
    feeds->values[i] = NULL;
    if (!read_array(runtime, one, &feeds->values[i], failure)) {
      return false;
    }
  }
  return true;
}

bool feeds_read(const struct runtime *runtime, const struct json_value *inputs,
                struct feeds *feeds, struct failure *failure) {
  *feeds = (struct feeds){0};
  if (inputs == NULL || inputs->type != JSON_OBJECT || inputs->count > MAX_INPUTS) {
    return fail(failure, KIND_REQUEST, "inputs must be an object of at most 1024 arrays");
  }
  feeds->names = calloc(inputs->count + 1, sizeof *feeds->names);
  feeds->values = calloc(inputs->count + 1, sizeof(OrtValue *));
  bool done = feeds->names != NULL && feeds->values != NULL ? true : fail_memory(failure);
  if (!done || !read_members(runtime, inputs, feeds, failure)) {
    feeds_free(runtime, feeds);
    return false;
  }
  return true;
}

void feeds_free(const struct runtime *runtime, struct feeds *feeds) {
  for (size_t i = 0; i < feeds->count; i++) {
    free(feeds->names[i]);
    if (feeds->values[i] != NULL) {
      ORT(runtime->api, ReleaseValue)(feeds->values[i]);
    }
  }
  free(feeds->names);
  free(feeds->values);
  *feeds = (struct feeds){0};
}

/* An output's type and place. */
struct output {
  const struct dtype *dtype;
  size_t elements;
  size_t axis_count;
  int64_t axes[MAX_AXES];
  void *data;
};

static bool look_at_type(const struct runtime *runtime, const OrtTensorTypeAndShapeInfo *info,
                         struct output *output, struct failure *failure) {
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  if (!runtime_ok(runtime, ORT(runtime->api, GetTensorElementType)(info, &type), failure) ||
      !runtime_ok(runtime, ORT(runtime->api, GetTensorShapeElementCount)(info, &output->elements),
                  failure) ||
      !runtime_ok(runtime, ORT(runtime->api, GetDimensionsCount)(info, &output->axis_count),
                  failure)) {
    return false;
  }
  output->dtype = dtype_of(type);
  if (output->dtype->size == 0) {
    return fail(failure, KIND_MODEL, "ValueError: type '%s' cannot be sent", output->dtype->name);
  }
  if (output->axis_count > MAX_AXES) {
    return fail(failure, KIND_MODEL, "ValueError: an output has %zu axes, at most %d are taken",
                output->axis_count, MAX_AXES);
  }
  return runtime_ok(runtime,
                    ORT(runtime->api, GetDimensions)(info, output->axes, output->axis_count),
                    failure);
}

static bool look_at(const struct runtime *runtime, OrtValue *value, struct output *output,
                    struct failure *failure) {
  OrtTensorTypeAndShapeInfo *info = NULL;
  int tensor = 0;
  if (value != NULL &&
      !runtime_ok(runtime, ORT(runtime->api, IsTensor)(value, &tensor), failure)) {
    return false;
  }
  if (!tensor) {
    return fail(failure, KIND_MODEL, "ValueError: an output that is no tensor cannot be sent");
  }
  if (!runtime_ok(runtime, ORT(runtime->api, GetTensorTypeAndShape)(value, &info), failure)) {
    return false;
  }
  bool done = look_at_type(runtime, info, output, failure);
  ORT(runtime->api, ReleaseTensorTypeAndShapeInfo)(info);
  return done &&
         runtime_ok(runtime, ORT(runtime->api, GetTensorMutableData)(value, &output->data), failure);
}

/* A number with commas between thousands. */
static void write_thousands(uint64_t number, char out[32]) {
  char digits[32];
  size_t count = 0;
  for (; number > 0 || count == 0; number /= 10) {
    if (count % 4 == 3) {
      digits[count++] = ',';
    }
    digits[count++] = (char)('0' + number % 10);
  }
  for (size_t i = 0; i < count; i++) {
    out[i] = digits[count - 1 - i];
  }
  out[count] = '\0';
}

static void write_array(struct buffer *out, const struct output *output) {
  json_open(out, '{');
  json_key(out, "dtype");
  json_string(out, output->dtype->name);
  json_key(out, "shape");
  json_open(out, '[');
  for (size_t i = 0; i < output->axis_count; i++) {
    json_integer(out, output->axes[i]);
  }
  json_close(out, ']');
  json_key(out, "data");
  buffer_append(out, "\"", 1);
  base64_encode(out, output->data, output->elements * output->dtype->size);
  buffer_append(out, "\"", 1);
  json_close(out, '}');
}

static bool check_total(uint64_t total, struct failure *failure) {
  char given[32];
  char taken[32];
  if (total <= MAX_OUTPUT_BYTES) {
    return true;
  }
  write_thousands(total, given);
  write_thousands(MAX_OUTPUT_BYTES, taken);
  return fail(failure, KIND_MODEL, "ValueError: it gives %s bytes, at most %s are taken", given,
              taken);
}

bool outputs_write(const struct runtime *runtime, OrtValue *const *values, size_t count,
                   struct buffer *out, struct failure *failure) {
  struct output *outputs = calloc(count + 1, sizeof *outputs);
  bool done = outputs != NULL ? true : fail_memory(failure);
  uint64_t total = 0;
  for (size_t i = 0; done && i < count; i++) {
    done = look_at(runtime, values[i], &outputs[i], failure);
    total += done ? (uint64_t)outputs[i].elements * outputs[i].dtype->size : 0;
  }
  done = done && check_total(total, failure);
  if (done) {
    json_open(out, '[');
    for (size_t i = 0; i < count; i++) {
      write_array(out, &outputs[i]);
    }
    json_close(out, ']');
  }
  free(outputs);
  return done;
}
