# The images of a host that runs in containers, one target a service: compose.yaml puts them together.
#
#   docker build --target host -t corefn/host .
#
# Where the network needs certificates of its own, put them as ca.pem beside this file.
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BASE_IMAGE} AS build
ARG DEBIAN_FRONTEND=noninteractive
# The compiler that Debian keeps current for its web browsers comes as a security update.
RUN set -eu; \
    if ! grep -rqs debian-security /etc/apt/sources.list /etc/apt/sources.list.d; then \
        sed -n 's|/debian/\{0,1\} bookworm main|/debian-security bookworm-security main|p' \
            /etc/apt/sources.list > /etc/apt/sources.list.d/security.list; \
    fi; \
    apt-get update; \
    apt-get install -y --no-install-recommends ca-certificates cargo-web rustc-web; \
    apt-get clean; rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY scripts scripts
RUN scripts/setup --build
COPY Cargo.toml Cargo.lock build.rs ca.pem* ./
COPY .cargo* .cargo
COPY page page
COPY src src
COPY crates crates
COPY examples examples
COPY tests tests
COPY bench bench
COPY fuzz fuzz
RUN set -eu; \
    if [ -f ca.pem ]; then export CARGO_HTTP_CAINFO=/src/ca.pem; fi; \
    cargo build --release --locked -p ngx_http_corefn_module -p corefn -p corefn-build -p corefn-clean \
        -p corefn-keep -p corefn-dispatch -p corefn-gate; \
    cd target/release; \
    ../../scripts/strip ../stripped libngx_http_corefn_module.so corefn corefn-build corefn-clean corefn-keep \
        corefn-dispatch corefn-gate

# What all services have: the two accounts, with the numbers by which they share files, and how a service begins.
FROM ${BASE_IMAGE} AS service
RUN set -eu; \
    groupadd --gid 7021 corefn; \
    useradd --uid 7021 --gid 7021 --home-dir /var/func --no-create-home --shell /usr/sbin/nologin corefn; \
    groupadd --gid 7022 git; \
    useradd --uid 7022 --gid 7022 --home-dir / --no-create-home --shell /bin/sh --password '*' git; \
    groupadd --gid 7023 gate; \
    useradd --uid 7023 --gid 7023 --home-dir / --no-create-home --shell /usr/sbin/nologin gate; \
    groupadd --gid 7031 gate-router; \
    groupadd --gid 7032 gate-builder; \
    groupadd --gid 7033 gate-keeper; \
    groupadd --gid 7034 gate-cleaner
ENV COREFN_HOME=/var/func
COPY compose/begin /usr/local/bin/begin
ENTRYPOINT ["begin"]

FROM service AS redis
RUN set -eu; \
    apt-get update; \
    apt-get install -y --no-install-recommends redis-server; \
    apt-get clean; rm -rf /var/lib/apt/lists/* /usr/share/doc /usr/share/man
COPY compose/redis.conf /etc/corefn/redis.conf
HEALTHCHECK --interval=5s --timeout=3s --retries=12 CMD ["redis-cli", "-s", "/var/func/run/redis.sock", "ping"]
CMD ["redis"]

# sshd runs as the account git, as all that it starts: nothing in this container is root's.
FROM service AS git
# (What git needs to serve is not written in Perl, and speaks neither HTTP nor other languages.)
RUN set -eu; \
    apt-get update; \
    apt-get install -y --no-install-recommends git openssh-server; \
    dpkg --purge --force-depends git-man liberror-perl perl perl-modules-5.36 libperl5.36 2>/dev/null; \
    cd /usr/lib/git-core; \
    rm -rf git-http-* git-remote-* git-imap-send git-daemon scalar /usr/bin/scalar /usr/share/locale; \
    apt-get clean; rm -rf /var/lib/apt/lists/* /usr/share/doc /usr/share/man /etc/ssh/ssh_host_*
COPY git-host/sshd_config.in /etc/corefn/sshd_config.in
COPY --from=build /src/target/stripped/corefn /src/target/stripped/corefn-build /usr/local/bin/
USER git
EXPOSE 7022
HEALTHCHECK --interval=5s --timeout=3s --retries=12 CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/7022"]
CMD ["git"]

FROM service AS builder
RUN set -eu; \
    apt-get update; \
    apt-get install -y --no-install-recommends ca-certificates; \
    apt-get clean; rm -rf /var/lib/apt/lists/* /usr/share/doc /usr/share/man
COPY stacks/ /usr/local/share/corefn/stacks/
COPY --from=build /src/target/stripped/corefn /src/target/stripped/corefn-build /usr/local/bin/
HEALTHCHECK --interval=5s --timeout=3s --retries=12 CMD ["corefn", "ls", "--json"]
STOPSIGNAL SIGTERM
CMD ["builder"]

FROM service AS firewall
RUN set -eu; \
    apt-get update; \
    apt-get install -y --no-install-recommends nftables; \
    apt-get clean; rm -rf /var/lib/apt/lists/* /usr/share/doc /usr/share/man
COPY --from=build /src/target/stripped/corefn /usr/local/bin/
HEALTHCHECK --interval=5s --timeout=3s --retries=12 CMD ["corefn", "firewall", "check"]
CMD ["firewall"]

FROM service AS cleaner
COPY --from=build /src/target/stripped/corefn /src/target/stripped/corefn-clean /usr/local/bin/
HEALTHCHECK --interval=5s --timeout=3s --retries=12 CMD ["corefn", "ps", "--json"]
CMD ["cleaner"]

FROM service AS dispatcher
COPY --from=build /src/target/stripped/corefn /src/target/stripped/corefn-dispatch /usr/local/bin/
HEALTHCHECK --interval=5s --timeout=3s --retries=12 CMD ["corefn", "schedules", "--json"]
CMD ["dispatcher"]

FROM service AS gate
COPY --from=build /src/target/stripped/corefn-gate /usr/local/bin/
HEALTHCHECK --interval=5s --timeout=3s --retries=12 CMD ["begin", "health", "gate"]
CMD ["gate"]

FROM service AS keeper
COPY --from=build /src/target/stripped/corefn-keep /usr/local/bin/
HEALTHCHECK --interval=5s --timeout=3s --retries=12 CMD ["begin", "health", "keeper"]
CMD ["keeper"]

# nginx with the module. The network must be the host's: instances are reached by their own addresses.
FROM service AS host
RUN set -eu; \
    apt-get update; \
    apt-get install -y --no-install-recommends nginx; \
    apt-get clean; rm -rf /var/lib/apt/lists/* /usr/share/doc /usr/share/man /etc/nginx/sites-enabled/default; \
    ln -sf /dev/stdout /var/log/nginx/corefn.log; \
    ln -sf /dev/stderr /var/log/nginx/error.log
COPY nginx-conf/ /etc/nginx/
RUN ln -s ../sites-available/corefn /etc/nginx/sites-enabled/
COPY --from=build /src/target/stripped/libngx_http_corefn_module.so /usr/lib/nginx/modules/ngx_http_corefn_module.so
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --retries=12 CMD ["begin", "health", "host"]
STOPSIGNAL SIGQUIT
CMD ["host"]
