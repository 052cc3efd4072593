/* Compares ort_abi.h with a header of ONNX Runtime; no part of the runner. To be compiled only:
 *   cc -std=c11 -fsyntax-only -I FOLDER_OF_ONNXRUNTIME_C_API_H check_abi.c */
#define ORT_ABI_CHECK
#include <onnxruntime_c_api.h>
#include <stddef.h>

#include "ort_abi.h"

#define SAME_PLACE(number, name, result, arguments) \
  _Static_assert(offsetof(OrtApi, name) == (number) * sizeof(void (*)(void)), #name " has moved");
ORT_ABI_ENTRIES(SAME_PLACE)

_Static_assert(sizeof(OrtErrorCode) == sizeof(int), "enumerations are no int");
_Static_assert(sizeof(ONNXTensorElementDataType) == sizeof(int), "enumerations are no int");
_Static_assert(ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16 == 16, "types of tensors differ");
_Static_assert(ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64 == 13, "types of tensors differ");
_Static_assert(ONNX_TYPE_OPTIONAL == 6, "types of values differ");
_Static_assert(ORT_LOGGING_LEVEL_ERROR == 3 && ORT_SEQUENTIAL == 0, "settings differ");
_Static_assert(ORT_DISABLE_ALL == 0 && ORT_ENABLE_BASIC == 1, "levels differ");
_Static_assert(ORT_ENABLE_EXTENDED == 2 && ORT_ENABLE_ALL == 99, "levels differ");
