/* SHA-256 of FIPS 180-4. */
#ifndef NASC_SHA256_H
#define NASC_SHA256_H

#include <stddef.h>

/* Writes 64 hexadecimal digits and a NUL. */
void sha256_hex(const void *data, size_t size, char out[65]);

#endif
