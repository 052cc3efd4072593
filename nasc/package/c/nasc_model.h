/* Weights that are open. */
#ifndef NASC_MODEL_H
#define NASC_MODEL_H

#include <stddef.h>

#include "nasc.h"

struct nasc_model {
  const unsigned char *weights; /* the file from its first byte on */
  size_t mapped;                /* bytes to unmap; 0: the memory is the caller's */
};

#endif
