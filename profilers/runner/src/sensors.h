/* What the system shows around a visit: frequencies, temperatures, migrations. */
#ifndef NASC_SENSORS_H
#define NASC_SENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

enum { MAX_FREQUENCIES = 32, MAX_ZONES = 64, ZONE_NAME_BYTES = 64 };

/* The sensors that there are: of the first cores that this thread may run on, and of zones. */
struct sensors {
  size_t core_count;
  int cores[MAX_FREQUENCIES];
  size_t zone_count;
  int zones[MAX_ZONES];
  char zone_names[MAX_ZONES][ZONE_NAME_BYTES];
  bool migrations;
};

/* What they read; INT64_MIN where one did not. */
struct reading {
  int64_t frequency_khz[MAX_FREQUENCIES];
  int64_t temperature_mc[MAX_ZONES];
  int64_t migrations;
};

void sensors_find(struct sensors *sensors);

/* Whether there is anything to read. */
bool sensors_any(const struct sensors *sensors);

/* Before the first run of a visit, and after the last. */
void reading_begin(const struct sensors *sensors, struct reading *reading);
void reading_end(const struct sensors *sensors, struct reading *reading);

void reading_write(const struct sensors *sensors, const struct reading *reading,
                   struct buffer *out);

#endif
