# nginx with the CoreFn module, and the programs beside it.
#
#   docker build -t corefn .
#   docker run --network host -v /var/run/docker.sock:/var/run/docker.sock corefn
#
# It serves functions on port 80 with the site of nginx-conf/conf.d, which expects Redis on
# 127.0.0.1:6379. The network must be the host's: instances are reached by their own addresses.
# The cleaner is the same image with another command: `corefn-clean --home DIR`.
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
    rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN if [ -f ca.pem ]; then export CARGO_HTTP_CAINFO=/src/ca.pem; fi; \
    scripts/setup --build \
 && cargo build --release --locked -p ngx_http_corefn_module -p corefn -p corefn-build -p corefn-clean \
 && cd target/release \
 && ../../scripts/strip ../stripped libngx_http_corefn_module.so corefn corefn-build corefn-clean

FROM ${BASE_IMAGE}
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates git nginx \
 && rm -rf /var/lib/apt/lists/* /etc/nginx/sites-enabled/default \
 && ln -sf /dev/stdout /var/log/nginx/corefn.log \
 && ln -sf /dev/stderr /var/log/nginx/error.log
COPY --from=build /src/target/stripped/libngx_http_corefn_module.so /usr/lib/nginx/modules/ngx_http_corefn_module.so
COPY --from=build /src/target/stripped/corefn /src/target/stripped/corefn-build /src/target/stripped/corefn-clean /usr/local/bin/
COPY nginx-conf/ /etc/nginx/
COPY stacks/ /usr/local/share/corefn/stacks/
# The workers start containers, so they must be able to open Docker's socket: see nginx-conf/README.md.
RUN sed -i 's/^user .*/user root;/' /etc/nginx/nginx.conf
EXPOSE 80
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
