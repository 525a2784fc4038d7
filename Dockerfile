# The image of enforcer-extproc: one static program, the modules, the roots for https, and nothing else. Its context is
# what `make image` puts together; it writes nothing unless told to (`--cache`), so that its root can be read-only.
FROM scratch
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY *.wasm /usr/lib/enforcer/
COPY enforcer-extproc /usr/bin/enforcer-extproc
USER 65532:65532
EXPOSE 9000 9001
ENTRYPOINT ["/usr/bin/enforcer-extproc"]
