/* First functions: text and JSON in, text and JSON out. */
#include <corefn.h>

#include <time.h>

COREFN_NONE(HelloWorld) {
    return corefn_format("Hello world!");
}

COREFN_TEXT(SayHello, name) {
    return corefn_format("Hello, %s!", name);
}

/* The time, as RFC 3339 has it. */
COREFN_NONE(Now) {
    struct timespec now;
    struct tm utc;
    char text[sizeof "2026-01-01T00:00:00"];
    clock_gettime(CLOCK_REALTIME, &now);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &utc));
    return corefn_format("%s.%09ldZ", text, now.tv_nsec);
}

/* Takes two numbers, {"A":1,"B":2}, out of a body; 0 if they are there. */
static int operands(json_t *body, json_int_t *a, json_int_t *b) {
    json_error_t error;
    if (json_unpack_ex(body, &error, 0, "{s:I, s:I}", "A", a, "B", b) != 0) {
        corefn_fail(400, "%s", error.text);
        return 1;
    }
    return 0;
}

COREFN_JSON(Add, body, "{\"A\":1,\"B\":2}") {
    json_int_t a, b;
    return operands(body, &a, &b) ? NULL : json_pack("{s:I}", "Result", a + b);
}

COREFN_JSON(Multiply, body, "{\"A\":6,\"B\":7}") {
    json_int_t a, b;
    return operands(body, &a, &b) ? NULL : json_pack("{s:I}", "Result", a * b);
}
