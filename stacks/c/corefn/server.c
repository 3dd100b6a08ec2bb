/* The program around functions: HTTP by libevent in one thread, the calls in others. */
#define _GNU_SOURCE
#include "function.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/thread.h>

/* By this the build tells this main from a program's own. */
__attribute__((used, section(".corefn"))) static const char mark[] = "serves functions";

/* How many calls are under way at a time; the default limit of a container is 64 threads and processes. */
#define THREADS 32

/* Longer than nginx keeps a connection (60 s): it must not be closed here when nginx is about to use it. Seconds. */
#define IDLE 75

/* How many connections may wait until they are accepted: at a socket, one more is refused at once. */
#define BACKLOG 4096

/* A request that is being answered. libevent reads nothing from its connection meanwhile, and so doesn't end it. */
struct job {
    struct evhttp_request *request;
    const struct corefn_function *function;
    char *body;
    size_t length;
    struct answer answer;
    struct job *next;
};

/* Jobs, first in, first out. */
struct queue {
    struct job *first;
    struct job **last;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t waiting = PTHREAD_COND_INITIALIZER;
static struct queue called = {NULL, &called.first};
static struct queue done = {NULL, &done.first};

static struct event_base *base;
static struct evhttp *http;
static struct evhttp_bound_socket *listener;
static struct event *some_done;
static unsigned under_way;
static bool is_stopping;

static void die(const char *what) {
    fprintf(stderr, "error: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void put(struct queue *queue, struct job *job) {
    job->next = NULL;
    *queue->last = job;
    queue->last = &job->next;
}

static struct job *take(struct queue *queue) {
    struct job *job = queue->first;
    if (job != NULL) {
        queue->first = job->next;
        if (queue->first == NULL) {
            queue->last = &queue->first;
        }
    }
    return job;
}

/* Calls functions, as they are asked for. */
static void *work(void *unused) {
    for (;;) {
        pthread_mutex_lock(&lock);
        struct job *job;
        while ((job = take(&called)) == NULL) {
            pthread_cond_wait(&waiting, &lock);
        }
        pthread_mutex_unlock(&lock);
        job->answer = function_call(job->function, job->body, job->length);
        pthread_mutex_lock(&lock);
        put(&done, job);
        pthread_mutex_unlock(&lock);
        event_active(some_done, 0, 0);
    }
    return unused;
}

static void stop_if_idle(void) {
    if (is_stopping && under_way == 0) {
        event_base_loopexit(base, NULL);
    }
}

/* The connection has ended before the answer was written whole. */
static void lost(struct evhttp_connection *connection, void *unused) {
    (void)connection;
    (void)unused;
    under_way--;
    stop_if_idle();
}

/* An answer has been written whole. */
static void written(struct evhttp_request *request, void *unused) {
    evhttp_connection_set_closecb(evhttp_request_get_connection(request), NULL, NULL);
    lost(NULL, unused);
}

static void send_answer(struct evhttp_request *request, struct answer answer) {
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
    if (answer.type != NULL) {
        evhttp_add_header(headers, "Content-Type", answer.type);
    }
    struct evbuffer *body = evbuffer_new();
    if (answer.length > 0) {
        evbuffer_add(body, answer.body, answer.length);
    }
    evhttp_send_reply(request, answer.status, NULL, body);
    evbuffer_free(body);
    free(answer.body);
}

static void send_done(evutil_socket_t unused, short events, void *nothing) {
    (void)unused;
    (void)events;
    (void)nothing;
    for (;;) {
        pthread_mutex_lock(&lock);
        struct job *job = take(&done);
        pthread_mutex_unlock(&lock);
        if (job == NULL) {
            return;
        }
        send_answer(job->request, job->answer);
        free(job->body);
        free(job);
    }
}

static void take_request(struct evhttp_request *request, void *unused) {
    (void)unused;
    under_way++;
    evhttp_request_set_on_complete_cb(request, written, NULL);
    evhttp_connection_set_closecb(evhttp_request_get_connection(request), lost, NULL);
    const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request));
    const struct corefn_function *function = NULL;
    if (path != NULL && path[0] == '/') {
        function = function_named(path + 1);
    }
    if (function == NULL) {
        send_answer(request, (struct answer){404, "text/plain", strdup("There is no such function\n"), 26});
        return;
    }
    struct evbuffer *input = evhttp_request_get_input_buffer(request);
    struct job *job = calloc(1, sizeof *job);
    size_t length = evbuffer_get_length(input);
    char *body = malloc(length + 1);
    if (job == NULL || body == NULL) {
        free(job);
        free(body);
        send_answer(request, (struct answer){500, "text/plain", NULL, 0});
        return;
    }
    evbuffer_remove(input, body, length);
    body[length] = '\0';
    *job = (struct job){.request = request, .function = function, .body = body, .length = length};
    pthread_mutex_lock(&lock);
    put(&called, job);
    pthread_cond_signal(&waiting);
    pthread_mutex_unlock(&lock);
}

/* SIGTERM: no more connections; what is under way is answered. */
static void stop(evutil_socket_t number, short events, void *unused) {
    (void)number;
    (void)events;
    (void)unused;
    if (!is_stopping) {
        is_stopping = true;
        evhttp_del_accept_socket(http, listener);
        stop_if_idle();
    }
}

/* Takes connections at the socket that is the descriptor $COREFN_SOCKET if that is set, else on 0.0.0.0:$PORT. */
static void start_listening(void) {
    const char *port = getenv("PORT");
    const char *text = getenv("COREFN_SOCKET");
    if (text == NULL) {
        listener = evhttp_bind_socket_with_handle(http, "0.0.0.0", (unsigned short)atoi(port == NULL ? "8080" : port));
    } else {
        int number = atoi(text);
        if (evutil_make_socket_nonblocking(number) == 0 && evutil_make_socket_closeonexec(number) == 0 &&
            listen(number, BACKLOG) == 0) {
            listener = evhttp_accept_socket_with_handle(http, number);
        }
    }
    if (listener == NULL) {
        die(text == NULL ? "the port can't be listened on" : "the socket can't be listened on");
    }
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--exports") == 0) {
        return functions_describe();
    }
    signal(SIGPIPE, SIG_IGN);
    if (evthread_use_pthreads() != 0 || (base = event_base_new()) == NULL || (http = evhttp_new(base)) == NULL) {
        die("libevent can't be used");
    }
    some_done = event_new(base, -1, EV_PERSIST, send_done, NULL);
    struct event *term = evsignal_new(base, SIGTERM, stop, NULL);
    if (some_done == NULL || term == NULL || event_add(term, NULL) != 0) {
        die("SIGTERM can't be caught");
    }
    evhttp_set_timeout(http, IDLE);
    evhttp_set_allowed_methods(http, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD | EVHTTP_REQ_PUT |
                                         EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS | EVHTTP_REQ_PATCH);
    evhttp_set_gencb(http, take_request, NULL);
    start_listening();
    for (int number = 0; number < THREADS; number++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, NULL) != 0) {
            if (number == 0) {
                die("no thread can be started");
            }
            break;
        }
    }
    event_base_dispatch(base);
    return 0;
}
