#define _GNU_SOURCE
#include "function.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT "text/plain; charset=utf-8"

static struct corefn_function *functions;
static size_t count;

/* How the call of this thread has failed, if it has. */
static _Thread_local int failed_status;
static _Thread_local char *failed_text;

static void *or_abort(void *memory) {
    if (memory == NULL) {
        fputs("error: out of memory\n", stderr);
        abort();
    }
    return memory;
}

void corefn_add(struct corefn_function function) {
    functions = or_abort(realloc(functions, (count + 1) * sizeof *functions));
    functions[count++] = function;
}

static char *format_list(const char *format, va_list list) {
    char *text = NULL;
    if (vasprintf(&text, format, list) < 0) {
        text = NULL;
    }
    return or_abort(text);
}

char *corefn_format(const char *format, ...) {
    va_list list;
    va_start(list, format);
    char *text = format_list(format, list);
    va_end(list);
    return text;
}

void *corefn_fail(int status, const char *format, ...) {
    va_list list;
    va_start(list, format);
    free(failed_text);
    failed_text = format_list(format, list);
    failed_status = status >= 400 && status <= 599 ? status : 500;
    va_end(list);
    return NULL;
}

const struct corefn_function *function_named(const char *name) {
    for (size_t number = 0; number < count; number++) {
        if (strcmp(functions[number].name, name) == 0) {
            return &functions[number];
        }
    }
    return NULL;
}

/* An answer of a body that is the answer's from here on. */
static struct answer answered(int status, const char *type, char *body) {
    return (struct answer){status, type, body, body == NULL ? 0 : strlen(body)};
}

static struct answer refused(const char *why) {
    return answered(400, TEXT, corefn_format("The body isn't the function's argument: %s", why));
}

/* Calls a function that takes JSON. */
static struct answer call_json(const struct corefn_function *function, const char *body, size_t length) {
    json_error_t error;
    json_t *argument = json_loadb(body, length, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
    if (argument == NULL) {
        char *why = corefn_format("%s at line %d, column %d", error.text, error.line, error.column);
        struct answer answer = refused(why);
        free(why);
        return answer;
    }
    json_t *returned = function->json(argument);
    json_decref(argument);
    if (returned == NULL) {
        return answered(204, NULL, NULL);
    }
    char *text = json_dumps(returned, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(returned);
    return text == NULL ? answered(500, TEXT, corefn_format("The function returned no JSON"))
                        : answered(200, "application/json", text);
}

struct answer function_call(const struct corefn_function *function, const char *body, size_t length) {
    struct answer answer;
    failed_status = 0;
    if (function->json != NULL) {
        answer = call_json(function, body, length);
    } else if (function->text != NULL && memchr(body, '\0', length) != NULL) {
        answer = refused("a text has no NUL");
    } else {
        char *text = function->text != NULL ? function->text(body) : function->none();
        answer = text == NULL ? answered(204, NULL, NULL) : answered(200, TEXT, text);
    }
    if (failed_status != 0) {
        free(answer.body);
        answer = answered(failed_status, TEXT, failed_text);
        failed_text = NULL;
    }
    return answer;
}

static int by_name(const void *one, const void *other) {
    return strcmp(((const struct corefn_function *)one)->name, ((const struct corefn_function *)other)->name);
}

int functions_describe(void) {
    json_t *list = json_array();
    qsort(functions, count, sizeof *functions, by_name);
    for (size_t number = 0; number < count; number++) {
        const struct corefn_function *function = &functions[number];
        const char *argument = function->json != NULL ? "json" : function->text != NULL ? "text" : "none";
        const char *answer = function->json != NULL ? "json" : "text";
        json_t *described =
            json_pack("{s:s, s:s, s:s}", "name", function->name, "argument", argument, "answer", answer);
        if (function->example != NULL) {
            json_object_set_new(described, "example", json_string(function->example));
        }
        json_array_append_new(list, described);
    }
    int is_bad = count == 0 || json_dumpf(list, stdout, 0) != 0;
    json_decref(list);
    if (count == 0) {
        fputs("error: there are no functions: make some with the macros of corefn.h, or write a main that listens on "
              "0.0.0.0:$PORT\n", stderr);
    }
    return is_bad;
}
