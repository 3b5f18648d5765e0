# The commands of this repository. On a fresh Debian machine with git, make and Rust, `make demo` and `make test` install
# whatever else they need (see stack/setup.sh); they ask for root through sudo where they must.

.DEFAULT_GOAL := help
.PHONY: test-cases help build plugins plugins-rust plugins-python plugins-js conformance test-sdks images up demo demo-down test soak broken bench fmt lint deny

# Every package under plugins/ but the SDKs is a plugin.
PLUGINS := $(filter-out sdk-%,$(patsubst plugins/%/Cargo.toml,%,$(wildcard plugins/*/Cargo.toml)))
WASM := --profile plugin --target wasm32-wasip2 $(addprefix -p ,$(PLUGINS))

help: ## show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

build: ## build the server: target/release/paramedic
	@stack/setup.sh tools
	cargo build --release --locked -p paramedic

plugins: plugins-rust plugins-python plugins-js ## build all plugins: target/plugins/*.wasm

plugins-rust: ## build the plugins written in Rust alone
	@stack/setup.sh tools wasm
	cargo build --locked $(WASM)
	@mkdir -p target/plugins
	@# Cargo names an artefact restart_container.wasm; policies name it like its folder.
	@$(foreach p,$(PLUGINS),cp target/wasm32-wasip2/plugin/$(subst -,_,$(p)).wasm target/plugins/$(p).wasm;)

# These take a while (Python half a minute), so that each is built only when it, its SDK or the contract changed.
PYTHON_SDK := $(wildcard plugins/sdk-python/paramedic_policy/*.py) plugins/sdk-python/paramedic_component.py stack/python-tools.txt
JS_SDK := $(wildcard plugins/sdk-js/*.js) plugins/sdk-js/build.mjs plugins/sdk-js/template/package-lock.json

plugins-python: $(patsubst plugins/%/pyproject.toml,target/plugins/%.wasm,$(wildcard plugins/*/pyproject.toml)) ## build the plugins written in Python
plugins-js: $(patsubst plugins/%/package.json,target/plugins/%.wasm,$(filter-out plugins/sdk-%,$(wildcard plugins/*/package.json))) ## build the plugins written in JavaScript

define python-plugin
target/plugins/$(1).wasm: $$(wildcard plugins/$(1)/src/*.py) $$(PYTHON_SDK) wit/policy.wit
	@stack/setup.sh python-tools
	stack/build-plugin.sh python plugins/$(1) $$@
endef
define js-plugin
target/plugins/$(1).wasm: $$(wildcard plugins/$(1)/src/*) $$(JS_SDK) wit/policy.wit
	@stack/setup.sh js-tools
	stack/build-plugin.sh js plugins/$(1) $$@
endef
$(foreach p,$(patsubst plugins/%/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml)),$(eval $(call python-plugin,$(p))))
$(foreach p,$(patsubst plugins/%/package.json,%,$(filter-out plugins/sdk-%,$(wildcard plugins/*/package.json))),$(eval $(call js-plugin,$(p))))

conformance: target/conformance/conformance-python.wasm target/conformance/conformance-js.wasm ## build the plugins that hold the SDKs to the contract

target/conformance/conformance-python.wasm: $(wildcard tests/conformance/python/src/*) $(PYTHON_SDK) wit/policy.wit
	@stack/setup.sh python-tools
	stack/build-plugin.sh python tests/conformance/python $@
target/conformance/conformance-js.wasm: $(wildcard tests/conformance/js/src/*) tests/conformance/js/package.json $(JS_SDK) wit/policy.wit
	@stack/setup.sh js-tools
	stack/build-plugin.sh js tests/conformance/js $@

test-sdks: ## the tests of the Python and JavaScript SDKs and plugins; no wasm needed
	@stack/setup.sh js-tools
	@for p in plugins/sdk-python $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml)); do \
	echo "$$p"; python3 -m unittest discover -q "$$p/tests" || exit 1; done
	node --test plugins/sdk-js/tests $(addsuffix /tests,$(patsubst %/package.json,%,$(filter-out plugins/sdk-%,$(wildcard plugins/*/package.json))))

test-cases: build plugins ## ask every shipped plugin its cases
	@for p in $(patsubst plugins/%/cases,%,$(wildcard plugins/*/cases)); do \
	target/release/paramedic policy test target/plugins/$$p.wasm --cases plugins/$$p/cases || exit 1; done

images: ## build the images that the stack and the tests run beside Paramedic
	@stack/setup.sh tools engine base-image secrets
	stack/compose build nginx-demo blackbox prometheus alertmanager

up: build plugins-rust images ## start the stack with Paramedic in it
	stack/compose build paramedic
	stack/compose up -d
	@stack/ready.sh

demo: up ## start the stack, break nginx in four ways and see what Paramedic does
	@stack/demo.sh

demo-down: ## remove the stack, its volumes and its journal (the images stay)
	stack/compose down --volumes --remove-orphans

test: ## install what is missing and run every check and every test
	@.ci/test.sh

soak: build ## a million simulated schedules, then kill the server while it works, ROUNDS=200 times; nothing may be lost or doubled
	@stack/setup.sh tools engine base-image ansible wasm
	@ROUNDS=$(ROUNDS) SEED=$(SEED) tests/soak.sh

broken: build ## break each invariant on purpose and show the test that notices (about half an hour)
	@stack/setup.sh tools engine base-image wasm
	@tests/broken.sh

bench: build plugins ## print the benchmark table
	@stack/setup.sh tools engine base-image
	cargo build --release --locked -p paramedic-tests --bin paramedic-bench
	cargo build --locked --profile plugin --target wasm32-wasip2 -p guests
	cargo build --locked --profile plugin --target wasm32-wasip2 -p guests --example looks
	@tests/bench/bench.sh

fmt: ## format the Rust code
	@stack/setup.sh components
	cargo fmt --all

lint: ## format, clippy and docs, with warnings denied
	@stack/setup.sh tools wasm components
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked $(WASM) -p conformance-rust -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --workspace --no-deps

deny: ## licences, sources and known flaws of all dependencies
	@stack/setup.sh tools deny
	cargo deny --locked check licenses bans sources
	@# The list of known flaws is fetched from GitHub; a machine that cannot reach it says so and goes on.
	@if timeout 60 cargo deny --locked fetch db; then cargo deny --locked check --disable-fetch advisories; \
	else echo "deny: the advisory database cannot be fetched from here; known flaws were NOT checked" >&2; fi
