#include "settings.h"

#include <stdlib.h>

#include "machine.h"
#include "ort_abi.h"

/* Those of profilers/jobs.py. */
enum { MAX_THREADS = 1024 };
static const double MAX_LIMIT = 1e15;
const struct limits DEFAULT_LIMITS = {.run_s = 120.0, .load_s = 600.0, .memory_bytes = 0};

static bool wrong(struct failure *failure, const char *name, const char *allowed) {
  return fail(failure, KIND_REQUEST, "%s must be %s", name, allowed);
}

static bool read_flag(const struct json_value *value, const char *name, bool *flag,
                      struct failure *failure) {
  *flag = value->type == JSON_TRUE;
  return *flag || value->type == JSON_FALSE || wrong(failure, name, "true or false");
}

static bool read_threads(const struct json_value *value, int *threads, struct failure *failure) {
  if (value->type != JSON_INTEGER || value->integer < 1 || value->integer > MAX_THREADS) {
    return wrong(failure, "options.threads", "a whole number from 1 to 1024");
  }
  *threads = (int)value->integer;
  return true;
}

static bool read_optimization(const struct json_value *value, int *level,
                              struct failure *failure) {
  static const struct {
    const char *name;
    int level;
  } levels[] = {{"all", ORT_ENABLE_ALL},
                {"extended", ORT_ENABLE_EXTENDED},
                {"basic", ORT_ENABLE_BASIC},
                {"disable", ORT_DISABLE_ALL}};
  for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
    if (value->type == JSON_STRING && text_is(value->string, levels[i].name)) {
      *level = levels[i].level;
      return true;
    }
  }
  return wrong(failure, "options.graph_optimization", "one of all, extended, basic, disable");
}

static bool read_cores(const struct json_value *value, struct options *options,
                       struct failure *failure) {
  if (value->type == JSON_NULL) {
    return true;
  }
  if (value->type != JSON_ARRAY || value->count < 1 || value->count > MAX_THREADS) {
    return wrong(failure, "options.cores", "a list of 1 to 1024 numbers of cores, or null");
  }
  free(options->cores); /* of a field that stands there twice */
  options->core_count = 0;
  options->cores = malloc(value->count * sizeof *options->cores);
  if (options->cores == NULL) {
    return fail_memory(failure);
  }
  for (const struct json_value *core = value->first; core != NULL; core = core->next) {
    if (core->type != JSON_INTEGER || core->integer < 0 || core->integer >= CORES_END) {
      return wrong(failure, "a core", "a whole number from 0 to 65535");
    }
    options->cores[options->core_count++] = (int)core->integer;
  }
  return true;
}

static bool read_runtime(const struct json_value *value, struct failure *failure) {
  if (value->type != JSON_STRING) {
    return wrong(failure, "options.runtime", "text");
  }
  return text_is(value->string, "onnxruntime") ||
         fail(failure, KIND_RUNTIME,
              "the native worker has no runtime '%.*s'; available: onnxruntime. Others are for "
              "the Python worker: leave out worker = \"native\" in the device file.",
              SHOWN(value->string));
}

static bool read_inter_op_threads(const struct json_value *value, struct failure *failure) {
  return (value->type == JSON_INTEGER && value->integer == 1) ||
         wrong(failure, "options.inter_op_threads",
               "1: latency is that of one chain of operators");
}

static bool read_option(const struct json_value *value, struct options *options,
                        struct failure *failure) {
  if (text_is(value->key, "runtime")) {
    return read_runtime(value, failure);
  }
  if (text_is(value->key, "threads")) {
    return read_threads(value, &options->threads, failure);
  }
  if (text_is(value->key, "inter_op_threads")) {
    return read_inter_op_threads(value, failure);
  }
  if (text_is(value->key, "arena")) {
    return read_flag(value, "options.arena", &options->arena, failure);
  }
  if (text_is(value->key, "spinning")) {
    return read_flag(value, "options.spinning", &options->spinning, failure);
  }
  if (text_is(value->key, "graph_optimization")) {
    return read_optimization(value, &options->optimization, failure);
  }
  if (text_is(value->key, "cores")) {
    return read_cores(value, options, failure);
  }
  return fail(failure, KIND_REQUEST, "options has the unknown field '%.*s'", SHOWN(value->key));
}

bool options_read(const struct json_value *value, struct options *options,
                  struct failure *failure) {
  *options = (struct options){
      .threads = 1, .arena = true, .spinning = true, .optimization = ORT_ENABLE_ALL};
  if (value == NULL || value->type != JSON_OBJECT) {
    return wrong(failure, "options", "an object");
  }
  for (const struct json_value *one = value->first; one != NULL; one = one->next) {
    if (!read_option(one, options, failure)) {
      options_free(options);
      return false;
    }
  }
  return true;
}

void options_free(struct options *options) {
  free(options->cores);
  options->cores = NULL;
  options->core_count = 0;
}

static bool read_limit(const struct json_value *value, struct limits *limits,
                       struct failure *failure) {
  bool number = value->type == JSON_INTEGER || value->type == JSON_REAL;
  bool allowed = number && value->number > 0 && value->number < MAX_LIMIT;
  if (text_is(value->key, "memory_bytes")) {
    if (value->type != JSON_NULL && (!allowed || value->type != JSON_INTEGER)) {
      return wrong(failure, "limits.memory_bytes", "a whole number above 0, or null");
    }
    limits->memory_bytes = value->type == JSON_NULL ? 0 : value->integer;
    return true;
  }
  bool run = text_is(value->key, "run_s");
  if (!run && !text_is(value->key, "load_s")) {
    return fail(failure, KIND_REQUEST, "limits has the unknown field '%.*s'", SHOWN(value->key));
  }
  if (!allowed) {
    return wrong(failure, run ? "limits.run_s" : "limits.load_s", "a number above 0");
  }
  *(run ? &limits->run_s : &limits->load_s) = value->number;
  return true;
}

bool limits_read(const struct json_value *value, struct limits *limits, struct failure *failure) {
  *limits = DEFAULT_LIMITS;
  if (value == NULL) {
    return true;
  }
  if (value->type != JSON_OBJECT) {
    return wrong(failure, "limits", "an object");
  }
  for (const struct json_value *one = value->first; one != NULL; one = one->next) {
    if (!read_limit(one, limits, failure)) {
      return false;
    }
  }
  return true;
}
