#include "sensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json_write.h"
#include "machine.h"

#define FREQUENCY NASC_SYS "/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq"
#define ZONE NASC_SYS "/class/thermal/thermal_zone%d/"

enum { SCHED_BYTES = 4096, PATH_BYTES = 512 };

static int64_t read_frequency(int core) {
  char path[PATH_BYTES];
  int64_t khz = INT64_MIN;
  (void)snprintf(path, sizeof path, FREQUENCY, core);
  return read_number(path, &khz) && khz >= 0 ? khz : INT64_MIN;
}

static int64_t read_temperature(int zone) {
  char path[PATH_BYTES];
  int64_t temperature = INT64_MIN;
  (void)snprintf(path, sizeof path, ZONE "temp", zone);
  return read_number(path, &temperature) ? temperature : INT64_MIN;
}

/* How often the measuring thread, which is the first, has changed its core; -1 if untold. */
static int64_t read_migrations(void) {
  char text[SCHED_BYTES];
  if (read_small("/proc/self/sched", text, sizeof text) < 0) {
    return -1;
  }
  const char *line = strstr(text, "nr_migrations");
  const char *colon = line == NULL ? NULL : strchr(line, ':');
  return colon == NULL ? -1 : (int64_t)strtoll(colon + 1, NULL, 10);
}

static bool named_before(const struct sensors *sensors, const char *name) {
  for (size_t i = 0; i < sensors->zone_count; i++) {
    if (strcmp(sensors->zone_names[i], name) == 0) {
      return true;
    }
  }
  return false;
}

/* A zone's type, with its number where another has that type or none is told. */
static void name_zone(struct sensors *sensors, int zone) {
  char path[PATH_BYTES];
  char type[ZONE_NAME_BYTES - 12];
  char *name = sensors->zone_names[sensors->zone_count];
  (void)snprintf(path, sizeof path, ZONE "type", zone);
  bool told = read_small(path, type, sizeof type) > 0;
  if (!told) {
    (void)snprintf(type, sizeof type, "thermal_zone");
  }
  type[strcspn(type, "\n")] = '\0';
  if (told && !named_before(sensors, type)) {
    (void)snprintf(name, ZONE_NAME_BYTES, "%s", type);
  } else {
    (void)snprintf(name, ZONE_NAME_BYTES, "%s%d", type, zone);
  }
}

void sensors_find(struct sensors *sensors) {
  size_t count = 0;
  int *cores = allowed_cores(&count);
  *sensors = (struct sensors){0};
  for (size_t i = 0; cores != NULL && i < count && i < MAX_FREQUENCIES; i++) {
    if (read_frequency(cores[i]) != INT64_MIN) {
      sensors->cores[sensors->core_count++] = cores[i];
    }
  }
  free(cores);
  for (int zone = 0; zone < MAX_ZONES; zone++) {
    if (read_temperature(zone) != INT64_MIN) {
      sensors->zones[sensors->zone_count] = zone;
      name_zone(sensors, zone);
      sensors->zone_count++;
    }
  }
  sensors->migrations = read_migrations() >= 0;
}

bool sensors_any(const struct sensors *sensors) {
  return sensors->core_count > 0 || sensors->zone_count > 0 || sensors->migrations;
}

void reading_begin(const struct sensors *sensors, struct reading *reading) {
  reading->migrations = sensors->migrations ? read_migrations() : -1;
}

void reading_end(const struct sensors *sensors, struct reading *reading) {
  for (size_t i = 0; i < sensors->core_count; i++) {
    reading->frequency_khz[i] = read_frequency(sensors->cores[i]);
  }
  for (size_t i = 0; i < sensors->zone_count; i++) {
    reading->temperature_mc[i] = read_temperature(sensors->zones[i]);
  }
  int64_t migrations = reading->migrations < 0 ? -1 : read_migrations();
  reading->migrations = migrations < 0 ? INT64_MIN : migrations - reading->migrations;
}

void reading_write(const struct sensors *sensors, const struct reading *reading,
                   struct buffer *out) {
  char number[16];
  json_open(out, '{');
  if (sensors->core_count > 0) {
    json_key(out, "frequency_khz");
    json_open(out, '{');
    for (size_t i = 0; i < sensors->core_count; i++) {
      if (reading->frequency_khz[i] != INT64_MIN) {
        (void)snprintf(number, sizeof number, "%d", sensors->cores[i]);
        json_key(out, number);
        json_integer(out, reading->frequency_khz[i]);
      }
    }
    json_close(out, '}');
  }
  if (sensors->zone_count > 0) {
    json_key(out, "temperature_mc");
    json_open(out, '{');
    for (size_t i = 0; i < sensors->zone_count; i++) {
      if (reading->temperature_mc[i] != INT64_MIN) {
        json_key(out, sensors->zone_names[i]);
        json_integer(out, reading->temperature_mc[i]);
      }
    }
    json_close(out, '}');
  }
  if (reading->migrations != INT64_MIN) {
    json_key(out, "migrations");
    json_integer(out, reading->migrations);
  }
  json_close(out, '}');
}
