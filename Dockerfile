# docker build --target core .      convert, split, inspect, diff, verify --level weights
# docker build --target tf .        also verify with PyTorch and TensorFlow; flax and export likewise
# docker run --rm -v "$PWD:/work" IMAGE pt2tf model model-tf
FROM python:3.11-slim AS core
WORKDIR /src
COPY pyproject.toml hatch_build.py README.md LICENSE constraints.txt ./
COPY ckptconv ckptconv
COPY fixtures/dates fixtures/dates
COPY fixtures/dates-t5 fixtures/dates-t5
COPY fixtures/digits fixtures/digits
RUN pip install --no-cache-dir -c constraints.txt '.[hub,html]' \
    && useradd --create-home --uid 1000 ckptconv
USER 1000
WORKDIR /work
ENTRYPOINT ["ckptconv"]
CMD ["--help"]

FROM core AS tf
USER 0
RUN pip install --no-cache-dir -c /src/constraints.txt '/src[pytorch,tf]'
USER 1000

FROM core AS flax
USER 0
RUN pip install --no-cache-dir -c /src/constraints.txt '/src[pytorch,flax]'
USER 1000

FROM core AS export
USER 0
RUN pip install --no-cache-dir -c /src/constraints.txt '/src[onnx]'
USER 1000
