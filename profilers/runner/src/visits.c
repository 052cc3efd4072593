#include "visits.h"

#include <stdlib.h>
#include <sys/resource.h>

#include "clocks.h"
#include "json_write.h"
#include "limits.h"

/* How often the system took a core away from this process, all threads together. */
static int64_t involuntary_switches(void) {
  struct rusage usage;
  return getrusage(RUSAGE_SELF, &usage) == 0 ? (int64_t)usage.ru_nivcsw : 0;
}

static bool run_once(const struct timing *timing, struct model *model, struct failure *failure) {
  limit_time(timing->run_s);
  return session_run(&model->session, &model->feeds, failure);
}

static bool run_timed(const struct timing *timing, struct model *model, size_t i,
                      struct visit *visit, struct failure *failure) {
  session_drop_outputs(&model->session);
  limit_time(timing->run_s);
  int64_t switches = involuntary_switches();
  int64_t begin = wall_ns();
  int64_t own_begin = timing->own_clock ? thread_ns() : begin;
  bool done = session_run(&model->session, &model->feeds, failure);
  session_drop_outputs(&model->session); /* a caller would, too */
  int64_t own_end = timing->own_clock ? thread_ns() : 0;
  int64_t end = wall_ns();
  int64_t wall = end - begin;
  int64_t own = timing->own_clock ? own_end - own_begin : wall;
  visit->wall_ns[i] = wall;
  visit->own_ns[i] = own < wall ? own : wall;
  visit->preempted[i] = involuntary_switches() - switches;
  return done;
}

static bool run_step(const struct timing *timing, const struct step *step, struct visit *visit,
                     struct failure *failure) {
  bool done = true;
  if (step->runs > 0) {
    reading_begin(timing->sensors, &visit->reading);
  }
  for (size_t i = 0; done && i < step->warmup; i++) {
    done = run_once(timing, step->model, failure);
  }
  visit->start_ns = wall_ns();
  for (size_t i = 0; done && i < step->runs; i++) {
    done = run_timed(timing, step->model, i, visit, failure);
  }
  visit->end_ns = wall_ns();
  limit_time(0);
  session_drop_outputs(&step->model->session);
  if (step->runs > 0) {
    reading_end(timing->sensors, &visit->reading);
  }
  if (!done) {
    failure->name = step->model->name;
  }
  return done;
}

static void write_numbers(struct buffer *out, const char *name, const int64_t *numbers,
                          size_t count) {
  json_key(out, name);
  json_open(out, '[');
  for (size_t i = 0; i < count; i++) {
    json_integer(out, numbers[i]);
  }
  json_close(out, ']');
}

static void write_visit(const struct timing *timing, const struct step *step,
                        const struct visit *visit, struct buffer *out) {
  json_open(out, '{');
  json_key(out, "name");
  json_text(out, step->model->name);
  json_key(out, "start_s");
  json_seconds(out, visit->start_ns);
  json_key(out, "end_s");
  json_seconds(out, visit->end_ns);
  write_numbers(out, "wall_ns", visit->wall_ns, step->runs);
  write_numbers(out, "own_ns", visit->own_ns, step->runs);
  write_numbers(out, "preempted", visit->preempted, step->runs);
  if (sensors_any(timing->sensors)) {
    json_key(out, "state");
    reading_write(timing->sensors, &visit->reading, out);
  }
  json_close(out, '}');
}

/* Space for all that will be recorded, before the first run. */
static bool make_visits(const struct step *steps, size_t count, struct visit **visits,
                        int64_t **numbers) {
  size_t runs = 0;
  for (size_t i = 0; i < count; i++) {
    runs += steps[i].runs;
  }
  *visits = calloc(count + 1, sizeof **visits);
  *numbers = calloc(3 * runs + 1, sizeof **numbers);
  if (*visits == NULL || *numbers == NULL) {
    return false;
  }
  int64_t *next = *numbers;
  for (size_t i = 0; i < count; i++) {
    (*visits)[i].wall_ns = next;
    (*visits)[i].own_ns = next + steps[i].runs;
    (*visits)[i].preempted = next + 2 * steps[i].runs;
    next += 3 * steps[i].runs;
  }
  return true;
}

bool visit_steps(const struct timing *timing, const struct step *steps, size_t count,
                 struct buffer *out, struct failure *failure) {
  struct visit *visits = NULL;
  int64_t *numbers = NULL;
  bool done = make_visits(steps, count, &visits, &numbers) || fail_memory(failure);
  for (size_t i = 0; done && i < count; i++) {
    done = run_step(timing, &steps[i], &visits[i], failure);
  }
  if (done) {
    json_open(out, '[');
    for (size_t i = 0; i < count; i++) {
      if (steps[i].runs > 0) {
        write_visit(timing, &steps[i], &visits[i], out);
      }
    }
    json_close(out, ']');
  }
  free(visits);
  free(numbers);
  return done;
}
