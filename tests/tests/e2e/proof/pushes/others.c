#include <corefn.h>
#include <unistd.h>

COREFN_NONE(Crash) {
    return (char *)*(char *volatile *)8;
}

COREFN_NONE(Nothing) {
    return NULL;
}

COREFN_TEXT(Slow, text) {
    sleep(2);
    return corefn_format("%s", text);
}
