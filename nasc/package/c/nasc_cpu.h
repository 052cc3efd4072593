/* What the processor can do. */
#ifndef NASC_CPU_H
#define NASC_CPU_H

#include <stdbool.h>

/* Whether it, and the system, know every feature of a list that ends with NULL; names are Linux's.
 * A name that is unknown here counts as missing. */
bool nasc_cpu_has(const char *const *features);

#endif
