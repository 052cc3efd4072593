#include "dtypes.h"

static const struct dtype DTYPES[] = {
    {"undefined", ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED, 0},
    {"float32", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, 4},
    {"uint8", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, 1},
    {"int8", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, 1},
    {"uint16", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16, 2},
    {"int16", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16, 2},
    {"int32", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, 4},
    {"int64", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, 8},
    {"string", ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, 0},
    {"bool", ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL, 1},
    {"float16", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, 2},
    {"float64", ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE, 8},
    {"uint32", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32, 4},
    {"uint64", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64, 8},
    {"complex64", ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX64, 0},
    {"complex128", ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX128, 0},
    {"bfloat16", ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16, 0},
};

enum { COUNT = sizeof DTYPES / sizeof *DTYPES };

const struct dtype *dtype_named(struct text name) {
  for (size_t i = 0; i < COUNT; i++) {
    if (DTYPES[i].size > 0 && text_is(name, DTYPES[i].name)) {
      return &DTYPES[i];
    }
  }
  return NULL;
}

const struct dtype *dtype_of(ONNXTensorElementDataType type) {
  for (size_t i = 0; i < COUNT; i++) {
    if (DTYPES[i].type == type) {
      return &DTYPES[i];
    }
  }
  return &DTYPES[0];
}
