/* Tensors as TVM's functions are given them. */
#ifndef NASC_TENSORS_H
#define NASC_TENSORS_H

#include <tvm/ffi/c_api.h>

/* The tensor that an argument is; NULL where it is none. */
static inline DLTensor *tensor_of(const TVMFFIAny *value) {
  if (value->type_index == kTVMFFIDLTensorPtr) return (DLTensor *)value->v_ptr;
  if (value->type_index != kTVMFFITensor) return NULL;
  return (DLTensor *)((char *)value->v_obj + sizeof(TVMFFIObject));
}

#endif
