/* The device and its state, as profilers/context.py reads them. */
#ifndef NASC_MACHINE_H
#define NASC_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "failure.h"

/* Where the system shows devices; tests show others. */
#ifndef NASC_SYS
#define NASC_SYS "/sys"
#endif

/* Logical cores are numbered below this. */
enum { CORES_END = 65536 };

/* Cores that this thread may run on, ascending, to be freed; NULL where the system does not tell. */
int *allowed_cores(size_t *count);

/* Holds this thread, and those that it starts, to cores. */
bool pin_to_cores(const int *cores, size_t count, struct failure *failure);

/* 0 where the system does not tell. */
int64_t machine_memory_bytes(void);
int64_t available_memory_bytes(void); /* the machine's or its container's, whichever is less */
int64_t peak_memory_bytes(void);

/* The members of "context" that are not about the runtime. False if memory is lacking. */
bool write_machine(struct buffer *out);

/* The start of a small file into `out`, NUL behind it; its length, or -1 if it cannot be read. */
long read_small(const char *path, char *out, size_t size);

/* The whole number that a small file holds; false if it does not. */
bool read_number(const char *path, int64_t *number);

#endif
