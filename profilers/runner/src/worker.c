#include "worker.h"

#include <stdlib.h>

#include "json_read.h"
#include "json_write.h"
#include "limits.h"
#include "machine.h"
#include "visits.h"

enum { PROTOCOL = 1 };

/* Bounds of a visit: what it records takes 24 bytes a run. */
enum { MAX_STEPS = 100000, MAX_RUNS = 10000000 };

static bool get_text(const struct json_value *request, const char *name, struct text *text,
                     struct failure *failure) {
  const struct json_value *value = json_member(request, name);
  if (value == NULL || value->type != JSON_STRING) {
    return fail(failure, KIND_REQUEST, "%s must be text", name);
  }
  *text = value->string;
  return true;
}

static void write_bytes(struct buffer *out, const char *name, int64_t bytes) {
  json_key(out, name);
  if (bytes > 0) {
    json_integer(out, bytes);
  } else {
    json_null(out);
  }
}

static bool write_context(const struct worker *worker, struct buffer *out) {
  json_key(out, "context");
  json_open(out, '{');
  bool done = write_machine(out);
  json_key(out, "worker");
  json_string(out, "native");
  json_key(out, "runtime");
  json_string(out, "onnxruntime");
  json_key(out, "runtime_version");
  json_string(out, worker->runtime.version);
  json_key(out, "precisions");
  json_open(out, '[');
  json_string(out, "fp32");
  json_string(out, "int8");
  json_close(out, ']');
  json_close(out, '}');
  return done;
}

static bool start(struct worker *worker, const struct json_value *request, struct buffer *out,
                  struct failure *failure) {
  struct options options;
  struct limits limits;
  if (!limits_read(json_member(request, "limits"), &limits, failure) ||
      !options_read(json_member(request, "options"), &options, failure)) {
    return false;
  }
  /* Before the library is loaded: the threads that it starts inherit the cores. */
  bool pinned = options.cores == NULL ||
                pin_to_cores(options.cores, options.core_count, failure);
  if (!pinned || !runtime_load(&worker->runtime, worker->library, failure)) {
    options_free(&options);
    return false;
  }
  options_free(&worker->options);
  worker->options = options;
  worker->limits = limits;
  limit_memory(limits.memory_bytes);
  sensors_find(&worker->sensors);
  json_key(out, "protocol");
  json_integer(out, PROTOCOL);
  json_key(out, "clock");
  json_string(out, options.threads == 1 ? "thread" : "wall");
  if (!write_context(worker, out)) {
    return fail(failure, KIND_REQUEST,
                "the system tells neither what it is nor, by its clock, the date");
  }
  write_bytes(out, "base_bytes", peak_memory_bytes());
  return true;
}

static bool open_session(struct worker *worker, const struct json_value *request,
                         struct session *session, struct failure *failure) {
  struct text path = {NULL, 0};
  *session = (struct session){0};
  if (!get_text(request, "path", &path, failure)) {
    return false;
  }
  limit_time(worker->limits.load_s);
  bool done = session_open(&worker->runtime, &worker->options, path, session, failure);
  limit_time(0);
  if (!done) {
    session_close(session);
  }
  return done;
}

static bool load(struct worker *worker, const struct json_value *request, struct buffer *out,
                 struct failure *failure) {
  struct text name = {NULL, 0};
  struct feeds feeds;
  struct session session;
  (void)out;
  if (!get_text(request, "name", &name, failure) ||
      !feeds_read(&worker->runtime, json_member(request, "inputs"), &feeds, failure)) {
    return false;
  }
  bool done = false;
  if (open_session(worker, request, &session, failure)) {
    done = session_check_feeds(&session, &feeds, failure) &&
           (models_put(&worker->models, name, &session, &feeds) || fail_memory(failure));
    if (!done) {
      session_close(&session);
    }
  }
  if (!done) {
    feeds_free(&worker->runtime, &feeds);
  }
  return done;
}

static bool open_model(struct worker *worker, const struct json_value *request,
                       struct buffer *out, struct failure *failure) {
  struct text name = {NULL, 0};
  struct session session;
  struct feeds none = {0};
  if (!get_text(request, "name", &name, failure) ||
      !open_session(worker, request, &session, failure)) {
    return false;
  }
  json_key(out, "inputs");
  bool done = session_write_inputs(&session, out, failure);
  if (done) {
    json_key(out, "outputs");
    done = session_write_outputs(&session, out, failure);
  }
  if (done) {
    json_key(out, "metadata");
    done = session_write_metadata(&session, out, failure);
  }
  done = done && (models_put(&worker->models, name, &session, &none) || fail_memory(failure));
  if (!done) {
    session_close(&session);
  }
  return done;
}

static bool describe(struct worker *worker, const struct json_value *request, struct buffer *out,
                     struct failure *failure) {
  struct session session;
  if (!open_session(worker, request, &session, failure)) {
    return false;
  }
  json_key(out, "inputs");
  bool done = session_write_inputs(&session, out, failure);
  session_close(&session);
  return done;
}

static struct model *find_model(const struct worker *worker, struct text name,
                                struct failure *failure) {
  struct model *model = models_find(worker->models, name);
  if (model == NULL) {
    (void)fail(failure, KIND_REQUEST, "no model '%.*s' is loaded", SHOWN(name));
  }
  return model;
}

static bool read_step(const struct worker *worker, const struct json_value *value,
                      struct step *step, struct failure *failure) {
  const struct json_value *name = value->type == JSON_ARRAY && value->count == 3 ? value->first
                                                                                 : NULL;
  const struct json_value *warmup = name == NULL ? NULL : name->next;
  const struct json_value *runs = name == NULL ? NULL : warmup->next;
  if (name == NULL || name->type != JSON_STRING || warmup->type != JSON_INTEGER ||
      runs->type != JSON_INTEGER) {
    return fail(failure, KIND_REQUEST, "a step must be [name, warmup, runs]");
  }
  if (warmup->integer < 0 || warmup->integer > MAX_RUNS || runs->integer < 0 ||
      runs->integer > MAX_RUNS) {
    return fail(failure, KIND_REQUEST, "warmup and runs must be numbers from 0 to %d", MAX_RUNS);
  }
  *step = (struct step){.model = find_model(worker, name->string, failure),
                        .warmup = (size_t)warmup->integer,
                        .runs = (size_t)runs->integer};
  return step->model != NULL;
}

static bool read_steps(const struct worker *worker, const struct json_value *values,
                       struct step *steps, struct failure *failure) {
  size_t runs = 0;
  for (const struct json_value *one = values->first; one != NULL; one = one->next) {
    if (!read_step(worker, one, steps, failure)) {
      return false;
    }
    runs += steps->runs;
    steps++;
  }
  return runs <= MAX_RUNS ||
         fail(failure, KIND_REQUEST, "a visit must have at most %d runs in all", MAX_RUNS);
}

static bool visit(struct worker *worker, const struct json_value *request, struct buffer *out,
                  struct failure *failure) {
  const struct json_value *values = json_member(request, "steps");
  if (values == NULL || values->type != JSON_ARRAY || values->count > MAX_STEPS) {
    return fail(failure, KIND_REQUEST, "steps must be a list of at most %d steps", MAX_STEPS);
  }
  struct step *steps = calloc(values->count + 1, sizeof *steps);
  if (steps == NULL) {
    return fail_memory(failure);
  }
  struct timing timing = {.run_s = worker->limits.run_s,
                          .own_clock = worker->options.threads == 1,
                          .sensors = &worker->sensors};
  json_key(out, "visits");
  bool done = read_steps(worker, values, steps, failure) &&
              visit_steps(&timing, steps, values->count, out, failure);
  free(steps);
  return done;
}

static bool run(struct worker *worker, const struct json_value *request, struct buffer *out,
                struct failure *failure) {
  struct text name = {NULL, 0};
  struct feeds feeds;
  if (!get_text(request, "name", &name, failure)) {
    return false;
  }
  struct model *model = find_model(worker, name, failure);
  if (model == NULL ||
      !feeds_read(&worker->runtime, json_member(request, "inputs"), &feeds, failure)) {
    return false;
  }
  limit_time(worker->limits.run_s);
  bool done = session_run(&model->session, &feeds, failure);
  limit_time(0);
  json_key(out, "outputs");
  done = done && outputs_write(&worker->runtime, model->session.outputs,
                               model->session.output_count, out, failure);
  session_drop_outputs(&model->session);
  feeds_free(&worker->runtime, &feeds);
  if (!done) {
    failure->name = model->name;
  }
  return done;
}

static bool memory(struct worker *worker, const struct json_value *request, struct buffer *out,
                   struct failure *failure) {
  (void)worker;
  (void)request;
  (void)failure;
  write_bytes(out, "peak_bytes", peak_memory_bytes());
  return true;
}

static bool unload(struct worker *worker, const struct json_value *request, struct buffer *out,
                   struct failure *failure) {
  struct text name = {NULL, 0};
  (void)out;
  if (!get_text(request, "name", &name, failure)) {
    return false;
  }
  models_drop(&worker->models, name);
  return true;
}

static const struct operation {
  const char *name;
  bool needs_start;
  bool (*carry_out)(struct worker *worker, const struct json_value *request, struct buffer *out,
                    struct failure *failure);
} OPERATIONS[] = {
    {"start", false, start},   {"load", true, load},       {"visit", true, visit},
    {"describe", true, describe}, {"open", true, open_model}, {"run", true, run},
    {"memory", false, memory}, {"unload", false, unload},
};

static bool carry_out(struct worker *worker, const struct json_value *request, struct text name,
                      struct buffer *out, struct failure *failure) {
  for (size_t i = 0; i < sizeof OPERATIONS / sizeof *OPERATIONS; i++) {
    if (!text_is(name, OPERATIONS[i].name)) {
      continue;
    }
    if (OPERATIONS[i].needs_start && worker->runtime.api == NULL) {
      return fail(failure, KIND_REQUEST, "the first request must be 'start'");
    }
    return OPERATIONS[i].carry_out(worker, request, out, failure);
  }
  return fail(failure, KIND_REQUEST, "unknown op '%.*s'", SHOWN(name));
}

static void write_failure(const struct failure *failure, struct buffer *answer) {
  buffer_reset(answer);
  json_open(answer, '{');
  json_key(answer, "ok");
  json_bool(answer, false);
  json_key(answer, "kind");
  json_string(answer, failure->kind);
  json_key(answer, "error");
  json_string(answer, failure->message);
  json_key(answer, "name");
  if (failure->name.data == NULL) {
    json_null(answer);
  } else {
    json_text(answer, failure->name);
  }
  json_close(answer, '}');
  buffer_string(answer, "\n");
}

void worker_refuse(const char *kind, const char *message, struct buffer *answer) {
  struct failure failure;
  (void)fail(&failure, kind, "%s", message);
  write_failure(&failure, answer);
}

/* Answers a parsed request. */
static bool answer_request(struct worker *worker, const struct json_value *request,
                           struct buffer *answer, struct failure *failure) {
  struct text name = {NULL, 0};
  if (request->type != JSON_OBJECT) {
    (void)fail(failure, KIND_REQUEST, "a request must be an object");
    write_failure(failure, answer);
    return false;
  }
  json_open(answer, '{');
  json_key(answer, "ok");
  json_bool(answer, true);
  bool known = get_text(request, "op", &name, failure);
  bool leave = known && text_is(name, "quit");
  bool done = known && (leave || carry_out(worker, request, name, answer, failure));
  json_close(answer, '}');
  buffer_string(answer, "\n");
  if (done && answer->failed) {
    done = fail_memory(failure);
  }
  if (!done) {
    write_failure(failure, answer);
  }
  return leave;
}

bool worker_answer(struct worker *worker, char *line, size_t size, struct buffer *answer) {
  struct json_document document;
  struct failure failure;
  const char *problem = NULL;
  size_t where = 0;
  buffer_reset(answer);
  enum json_status status = json_parse(&document, line, size, &problem, &where);
  if (status != JSON_OK) {
    if (status == JSON_NO_MEMORY) {
      (void)fail_memory(&failure);
    } else {
      (void)fail(&failure, KIND_REQUEST, "a request must be a line of JSON; this one %s (byte %zu)",
                 problem, where);
    }
    write_failure(&failure, answer);
    return false;
  }
  bool leave = answer_request(worker, document.root, answer, &failure);
  json_free(&document);
  return leave;
}

void worker_free(struct worker *worker) {
  models_drop_all(&worker->models);
  options_free(&worker->options);
  if (worker->runtime.env != NULL) {
    ORT(worker->runtime.api, ReleaseEnv)(worker->runtime.env);
  }
}
