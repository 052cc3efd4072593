/* Types of tensors by the names that numpy has for them. */
#ifndef NASC_DTYPES_H
#define NASC_DTYPES_H

#include <stddef.h>

#include "ort_abi.h"
#include "text.h"

/* `size` is that of an element in bytes, 0 of what cannot be sent. */
struct dtype {
  const char *name;
  ONNXTensorElementDataType type;
  size_t size;
};

/* NULL where there is none that can be sent. */
const struct dtype *dtype_named(struct text name);

/* Never NULL: types of later releases are called "undefined". */
const struct dtype *dtype_of(ONNXTensorElementDataType type);

#endif
