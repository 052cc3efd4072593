#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "json_write.h"
#include "sha256.h"
#include "text.h"

#define CPU0 NASC_SYS "/devices/system/cpu/cpu0/cpufreq/"

/* The first processor's lines of /proc/cpuinfo take a few kilobytes. */
enum { CPUINFO_BYTES = 1 << 16, SMALL_BYTES = 1 << 13, MAX_FLAGS = 4096 };

long read_small(const char *path, char *out, size_t size) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    return -1;
  }
  size_t used = 0;
  while (used < size - 1) {
    ssize_t got = read(file, out + used, size - 1 - used);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      (void)close(file);
      return -1;
    }
    if (got == 0) {
      break;
    }
    used += (size_t)got;
  }
  (void)close(file);
  out[used] = '\0';
  return (long)used;
}

/* A small file's text without space around it; no data if it cannot be read. */
static struct text read_stripped(const char *path, char *space, size_t size) {
  long length = read_small(path, space, size);
  return length < 0 ? (struct text){NULL, 0} : text_strip((struct text){space, (size_t)length});
}

bool read_number(const char *path, int64_t *number) {
  char space[64];
  struct text text = read_stripped(path, space, sizeof space);
  if (text.size == 0) {
    return false;
  }
  char *end = NULL;
  errno = 0;
  long long value = strtoll(text.data, &end, 10);
  *number = value;
  return errno == 0 && end == text.data + text.size;
}

int *allowed_cores(size_t *count) {
  size_t size = CPU_ALLOC_SIZE(CORES_END);
  cpu_set_t *set = CPU_ALLOC(CORES_END);
  int *cores = NULL;
  *count = 0;
  if (set != NULL) {
    CPU_ZERO_S(size, set);
    if (sched_getaffinity(0, size, set) == 0) {
      cores = malloc(((size_t)CPU_COUNT_S(size, set) + 1) * sizeof *cores);
    }
    for (int core = 0; cores != NULL && core < CORES_END; core++) {
      if (CPU_ISSET_S((size_t)core, size, set)) {
        cores[(*count)++] = core;
      }
    }
    CPU_FREE(set);
  }
  return cores;
}

/* "[0, 1, 5]", as much as fits. */
static void list_cores(const int *cores, size_t count, char *out, size_t size) {
  size_t used = (size_t)snprintf(out, size, "[");
  for (size_t i = 0; i < count && used + 16 < size; i++) {
    used += (size_t)snprintf(out + used, size - used, "%s%d", i == 0 ? "" : ", ", cores[i]);
  }
  (void)snprintf(out + used, size - used, "]");
}

bool pin_to_cores(const int *cores, size_t count, struct failure *failure) {
  size_t size = CPU_ALLOC_SIZE(CORES_END);
  cpu_set_t *set = CPU_ALLOC(CORES_END);
  if (set == NULL) {
    return fail_memory(failure);
  }
  CPU_ZERO_S(size, set);
  for (size_t i = 0; i < count; i++) {
    CPU_SET_S((size_t)cores[i], size, set);
  }
  int done = sched_setaffinity(0, size, set);
  int error = errno;
  CPU_FREE(set);
  if (done == 0) {
    return true;
  }
  char wanted[512];
  char allowed[512];
  size_t allowed_count = 0;
  int *present = allowed_cores(&allowed_count);
  list_cores(cores, count, wanted, sizeof wanted);
  list_cores(present, allowed_count, allowed, sizeof allowed);
  free(present);
  return fail(failure, KIND_REQUEST,
              "cores %s cannot be used: %s; this process may run on %s", wanted, strerror(error),
              allowed);
}

int64_t machine_memory_bytes(void) {
  long page = sysconf(_SC_PAGESIZE);
  long pages = sysconf(_SC_PHYS_PAGES);
  return page > 0 && pages > 0 ? (int64_t)page * pages : 0;
}

int64_t available_memory_bytes(void) {
  int64_t machine = machine_memory_bytes();
  int64_t group = 0;
  if (!read_number(NASC_SYS "/fs/cgroup/memory.max", &group) || group <= 0) {
    return machine;
  }
  return machine > 0 && machine < group ? machine : group;
}

int64_t peak_memory_bytes(void) {
  char status[SMALL_BYTES];
  if (read_small("/proc/self/status", status, sizeof status) < 0) {
    return 0;
  }
  const char *line = strstr(status, "\nVmHWM:");
  return line == NULL ? 0 : (int64_t)strtoll(line + strlen("\nVmHWM:"), NULL, 10) * 1024;
}

/* What the fingerprint covers; fields of /proc/cpuinfo under their first name there is. */
struct cpu {
  struct text vendor, model, family, model_number, stepping, flags;
};

static bool ends_line(char c) {
  return (c >= '\n' && c <= '\r') || (c >= 0x1c && c <= 0x1e);
}

/* The last value of a field in the first processor's lines; no data if there is none. */
static struct text field(struct text lines, const char *name) {
  struct text found = {NULL, 0};
  size_t begin = 0;
  for (size_t i = 0; i <= lines.size; i++) {
    if (i < lines.size && !ends_line(lines.data[i])) {
      continue;
    }
    struct text line = {lines.data + begin, i - begin};
    const char *colon = line.size > 0 ? memchr(line.data, ':', line.size) : NULL;
    size_t key = colon == NULL ? line.size : (size_t)(colon - line.data);
    if (line.size > 0 && text_is(text_strip((struct text){line.data, key}), name)) {
      size_t skipped = colon == NULL ? key : key + 1;
      found = text_strip((struct text){line.data + skipped, line.size - skipped});
    }
    begin = i + 1;
  }
  return found;
}

static struct text field_of(struct text lines, const char *name, const char *other) {
  struct text found = field(lines, name);
  return found.size > 0 ? found : field(lines, other);
}

static struct cpu read_cpu(char *space, size_t size) {
  long length = read_small("/proc/cpuinfo", space, size);
  struct text lines = {space, length < 0 ? 0 : (size_t)length};
  for (size_t i = 0; i + 1 < lines.size; i++) {
    if (space[i] == '\n' && space[i + 1] == '\n') {
      lines.size = i;
    }
  }
  return (struct cpu){
      .vendor = field_of(lines, "vendor_id", "CPU implementer"),
      .model = field_of(lines, "model name", "CPU part"),
      .family = field_of(lines, "cpu family", "CPU architecture"),
      .model_number = field_of(lines, "model", "CPU variant"),
      .stepping = field_of(lines, "stepping", "CPU revision"),
      .flags = field_of(lines, "flags", "Features"),
  };
}

static int compare_flags(const void *one, const void *other) {
  const struct text *a = one;
  const struct text *b = other;
  int order = memcmp(a->data, b->data, a->size < b->size ? a->size : b->size);
  return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

static bool write_flags(struct buffer *out, struct text flags) {
  struct text *words = malloc(MAX_FLAGS * sizeof *words);
  size_t count = 0;
  if (words == NULL) {
    return false;
  }
  for (size_t i = 0; i < flags.size && count < MAX_FLAGS;) {
    size_t begin = i;
    while (i < flags.size && !text_is_space(flags.data[i])) {
      i++;
    }
    if (i > begin) {
      words[count++] = (struct text){flags.data + begin, i - begin};
    }
    i++;
  }
  qsort(words, count, sizeof *words, compare_flags);
  json_open(out, '[');
  for (size_t i = 0; i < count; i++) {
    json_text(out, words[i]);
  }
  json_close(out, ']');
  free(words);
  return true;
}

static void write_field(struct buffer *out, const char *name, struct text value) {
  json_key(out, name);
  if (value.data == NULL) {
    json_null(out);
  } else {
    json_text(out, value);
  }
}

/* The object that the fingerprint covers, its members in the order of their names. */
static bool write_cpu(struct buffer *out, const struct utsname *names) {
  char *space = malloc(CPUINFO_BYTES);
  if (space == NULL) {
    return false;
  }
  struct cpu cpu = read_cpu(space, CPUINFO_BYTES);
  json_open(out, '{');
  json_key(out, "arch");
  json_string(out, names->machine);
  write_field(out, "family", cpu.family);
  json_key(out, "flags");
  bool done = write_flags(out, cpu.flags);
  json_key(out, "logical_cores");
  json_integer(out, sysconf(_SC_NPROCESSORS_ONLN));
  write_field(out, "model", cpu.model.size > 0 ? cpu.model : (struct text){NULL, 0});
  write_field(out, "model_number", cpu.model_number);
  write_field(out, "stepping", cpu.stepping);
  write_field(out, "vendor", cpu.vendor);
  json_close(out, '}');
  free(space);
  return done;
}

static void write_affinity(struct buffer *out) {
  size_t count = 0;
  int *cores = allowed_cores(&count);
  if (cores == NULL) {
    json_null(out);
    return;
  }
  json_open(out, '[');
  for (size_t i = 0; i < count; i++) {
    json_integer(out, cores[i]);
  }
  json_close(out, ']');
  free(cores);
}

static void write_load(struct buffer *out) {
  struct sysinfo info;
  if (sysinfo(&info) != 0) {
    json_null(out);
    return;
  }
  json_open(out, '[');
  for (size_t i = 0; i < 3; i++) {
    json_real(out, (double)info.loads[i] / 65536.0);
  }
  json_close(out, ']');
}

static void write_known(struct buffer *out, const char *name, int64_t value, bool known) {
  json_key(out, name);
  if (known) {
    json_integer(out, value);
  } else {
    json_null(out);
  }
}

/* False where the clock tells no time that has a date. */
static bool write_state(struct buffer *out, const struct utsname *names) {
  char space[256];
  int64_t number = 0;
  json_key(out, "system");
  (void)snprintf(space, sizeof space, "%s %s", names->sysname, names->release);
  json_string(out, space);
  write_field(out, "governor", read_stripped(CPU0 "scaling_governor", space, sizeof space));
  bool known = read_number(CPU0 "scaling_cur_freq", &number) && number >= 0;
  write_known(out, "frequency_khz", number, known);
  json_key(out, "load_average");
  write_load(out);
  json_key(out, "affinity");
  write_affinity(out);
  write_known(out, "memory_bytes", machine_memory_bytes(), machine_memory_bytes() > 0);
  time_t now = time(NULL);
  struct tm utc;
  if (gmtime_r(&now, &utc) == NULL ||
      strftime(space, sizeof space, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0) {
    return false;
  }
  json_key(out, "time_utc");
  json_string(out, space);
  return true;
}

bool write_machine(struct buffer *out) {
  struct utsname names;
  struct buffer cpu = {0};
  char digest[65];
  if (uname(&names) != 0 || !write_cpu(&cpu, &names) || cpu.failed) {
    buffer_free(&cpu);
    return false;
  }
  sha256_hex(cpu.data, cpu.size, digest);
  json_key(out, "fingerprint");
  json_text(out, (struct text){digest, 16});
  json_key(out, "cpu");
  buffer_append(out, cpu.data, cpu.size);
  buffer_free(&cpu);
  return write_state(out, &names);
}
