# One stage that builds, one small one that runs.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libclang1-19 libclang-common-19-dev \
    || apt-get install -y --no-install-recommends g++ libclang1 libclang-common-14-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /jar
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/target \
    CARGO_TARGET_DIR=/target cargo build --release --locked --bin jar-node \
    && cp /target/release/jar-node /usr/local/bin/jar-node

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --create-home --home-dir /data jar
COPY --from=build /usr/local/bin/jar-node /usr/local/bin/jar-node
COPY chain-specs /chain-specs
USER jar
VOLUME /data
EXPOSE 9933 9615 30333/tcp 30333/udp
ENV JAR_DATA_DIR=/data/chain JAR_RPC_LISTEN=0.0.0.0:9933 JAR_METRICS_LISTEN=0.0.0.0:9615 \
    JAR_P2P_LISTEN=0.0.0.0:30333
# The image has no curl: bash speaks enough HTTP.
HEALTHCHECK --interval=5s --timeout=3s --start-period=15s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9615 && printf 'GET /livez HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["jar-node"]
CMD ["--chain", "/chain-specs/local.json"]
