# The image of the service. It has no torch, no compiler and no pip, and does not run as root.
# What it holds is listed in /opt/eclip/share/sbom/eclip.cdx.json (CycloneDX).
#   docker build -f deploy/service.Dockerfile -t eclip .

# `make digests` writes the newest digest; `apt-get upgrade` adds what Debian has fixed since.
ARG BASE=debian:trixie-slim@sha256:a99cfc517144bc59b1978475ec53b46ecabec7e43635402ee5b77cc54cd1b20a

FROM ${BASE} AS python
RUN apt-get update \
    && apt-get upgrade -y \
    && apt-get install -y --no-install-recommends python3 \
    && rm -rf /var/cache/apt /var/lib/apt/lists


FROM python AS builder
RUN dpkg-query -W > /packages.txt \
    && apt-get update && apt-get install -y --no-install-recommends python3-venv
RUN python3 -m venv /pip && python3 -m venv --without-pip /opt/eclip
WORKDIR /src
COPY deploy/pins pins
# cpu; or gpu, for onnxruntime-gpu and the CUDA libraries that it loads
ARG EXTRA=cpu
RUN --mount=type=cache,target=/root/.cache/pip \
    /pip/bin/pip install --require-hashes --no-deps -r pins/build.txt -r pins/sbom.txt \
    && /pip/bin/pip --python /opt/eclip/bin/python install --require-hashes --no-deps -r "pins/${EXTRA}.txt"
COPY LICENSE README.md pyproject.toml ./
COPY service service
COPY training training
COPY deploy/sbom.py deploy/
RUN /pip/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
    && /pip/bin/pip --python /opt/eclip/bin/python install --no-deps /wheel/*.whl \
    && /pip/bin/python deploy/sbom.py /opt/eclip/share/sbom/eclip.cdx.json \
        --python /opt/eclip/bin/python --debian /packages.txt \
    && find /opt/eclip -type d -name tests -prune -exec rm -rf {} + \
    && hardlink --quiet --ignore-time /opt/eclip  # wheels hold copies of libraries that should be links


FROM python
LABEL org.opencontainers.image.title="eCLIP Radiology" \
      org.opencontainers.image.description="Chest radiographs to embeddings, findings, similar cases and cited reports. Research software, not a medical device." \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 eclip \
    && useradd --uid 10001 --gid eclip --no-create-home --home-dir /data --shell /usr/sbin/nologin eclip \
    && install -d -o eclip -g eclip -m 0700 /data
COPY --from=builder /opt/eclip /opt/eclip
# Without keys `serve` refuses to start on 0.0.0.0 and says what to set.
ENV PATH=/opt/eclip/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ECLIP_HOST=0.0.0.0 \
    ECLIP_PORT=8000 \
    ECLIP_DATA_DIR=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as http; http.urlopen('http://127.0.0.1:' + os.environ['ECLIP_PORT'] + '/health/ready', timeout=4)"]
ENTRYPOINT ["eclip"]
CMD ["serve", "--demo"]
