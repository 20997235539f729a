# All commands of this repository. `make` alone lists them.

PYTHON ?= python3
CLOUD  := $(PYTHON) local/cloud.py
SAM     = .local/venv-sam/bin/sam

FUNCTIONS := configure-rule replicate-put replicate-delete backfill backfill-shard copy-parts
CRATES    := $(FUNCTIONS:%=-p %)

# Puts build outputs where the template and the scripts expect them, whatever the user's settings.
export CARGO_TARGET_DIR := $(CURDIR)/target
unexport CARGO_BUILD_TARGET
export PYTHONPYCACHEPREFIX := $(CURDIR)/.local/pycache

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo local local-down test acceptance fuzz chaos mutants bench bench-peers check quick fmt lint docs template scripts checkov functions build deploy tandem doctor install clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- Try it out -----------------------------------------------------------------------------------

demo: export DEMO_DIR = $(DIR)
demo: doctor install functions ## Replicate a folder between two regions of a local AWS, and verify the replicas: make demo [DIR=folder]
	@set --; [ -z "$$DEMO_DIR" ] || set -- --dir "$$DEMO_DIR"; \
	  $(CLOUD) with --name demo -- target/local/tandem-demo "$$@"

local: doctor install functions ## Start a local AWS with Tandem in it, and print how to use it: make local [PORT=4566]
	@$(CLOUD) up $(if $(PORT),--port $(PORT))
	@$(CLOUD) deploy
	@$(CLOUD) guide

local-down: ## Stop the local AWS that `make local` started
	@$(CLOUD) down

# ---- Checks ---------------------------------------------------------------------------------------

# One failing test binary does not hide the results of the others. Property tests use the seed of .cargo/config.toml.
ifdef ARGS
test: doctor install functions
	@$(CLOUD) with --name test --strict-s3 -- cargo test --profile local --workspace --no-fail-fast $(ARGS)
else
test: doctor install ## Run all tests, including whole flows on a local AWS: make test [ARGS="--test flows transfers::"]
	@$(PYTHON) local/checks.py test
endif

quick: ## Check a change of the domain within a minute: unit tests, properties, a small search
	cargo test --profile local -p tandem-replication --lib --test attempts --test jobs --test resume --test circles \
	  --test shard_sessions

# On AWS it asks before it starts, except with YES=1. CLEAN=1 only removes the resources of killed runs. LOCAL=1 runs on
# the local AWS, as `make test` does too.
acceptance: export PYTHON := $(PYTHON)
acceptance: doctor install ## Run the whole product on your AWS account, then remove it: make acceptance [REGIONS=a,b] [PROFILE=...] [YES=1] [CLEAN=1] [LOCAL=1]
ifdef LOCAL
	@$(MAKE) --no-print-directory functions
	@$(CLOUD) with --name acceptance -- target/local/tandem-acceptance --local $(ARGS)
else
	@cargo build --profile local --workspace
	@$(if $(CLEAN),,$(MAKE) --no-print-directory build)
	@target/local/tandem-acceptance --arch $(ARCH) $(if $(REGIONS),--regions '$(REGIONS)') \
	  $(if $(PROFILE),--profile '$(PROFILE)') $(if $(YES),--yes) $(if $(CLEAN),--clean) $(ARGS)
endif

fuzz: doctor ## Run the property tests with fresh seeds, and store failing cases: make fuzz [MINUTES=10] [SEED=n] [ONLY=text]
	@$(PYTHON) local/fuzz.py --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED)) --only '$(ONLY)'

# The run prints its seed, also a random one, so that you can repeat it.
chaos: SEED ?= $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
chaos: doctor install functions ## Run everything at once on a local AWS, with injected faults: make chaos [SEED=n] [MINUTES=10]
	@CHAOS_SEED=$(SEED) CHAOS_MINUTES=$(or $(MINUTES),10) $(CLOUD) with --name chaos -- \
	  cargo test --profile local --workspace --test chaos -- --nocapture

# SHARD selects a part of the mutants, such as 1/4. A shard takes two hours at most.
mutants: doctor install functions ## Break the code and check that a test detects it; takes hours: make mutants [SHARD=1/4] [SUITE=domain|process]
	@failed=0; run="$(PYTHON) local/mutants.py run --shard $(or $(SHARD),1/1) --suite"; \
	  [ '$(SUITE)' = process ] || $$run domain || failed=1; \
	  [ '$(SUITE)' = domain ] || $(CLOUD) with --name mutants --strict-s3 -- $$run process || failed=1; \
	  exit $$failed

# Measures the binaries of `make build`, if they exist.
bench: doctor install functions ## Measure the functions against an S3 in memory: make bench [ARGS="--quick --latency-ms 20"]
	@$(CLOUD) with --name bench -- target/local/tandem-bench functions $(ARGS)

bench-peers: doctor functions ## Measure rclone, s5cmd and s3sync the same way, if installed: make bench-peers [ARGS=...]
	@target/local/tandem-bench peers $(ARGS)

check: doctor install ## Run all checks that have to pass (format, lints, docs, template, tests), and print how long each took
	@$(PYTHON) local/checks.py check

fmt: ## Format the code
	cargo fmt --all

.PHONY: fmt-check
fmt-check:
	cargo fmt --all --check

lint: doctor ## Lint the code
	cargo clippy --profile local --workspace --all-targets -- -D warnings

docs: doctor ## Build the code's documentation
	RUSTDOCFLAGS="-D warnings" cargo doc --profile local --workspace --no-deps

template: install ## Check template.yaml and the examples
	SAM_CLI_TELEMETRY=0 $(SAM) validate --lint --template-file template.yaml --region us-east-1
	.local/venv-sam/bin/cfn-lint template.yaml examples/cloudformation/*.yaml

scripts: install ## Check the scripts of the local AWS, and that it cannot reach a real account
	$(PYTHON) -m py_compile local/*.py
	$(PYTHON) -m unittest discover --start-directory local

checkov: ## Check template.yaml for insecure settings (installs checkov, which is large; not part of `make check`)
	@$(CLOUD) install --checkov
	.local/venv-checkov/bin/checkov --config-file .checkov.yaml

.PHONY: deny advisories
deny: doctor ## Check versions, licences and sources of the crates used; builds cargo-deny the first time
	@$(PYTHON) local/deny.py crates

advisories: doctor ## Check the crates used for known vulnerabilities (needs the network; not part of `make check`)
	@$(PYTHON) local/deny.py advisories

# ---- Build and deploy -----------------------------------------------------------------------------

# The processor of the functions on AWS. On Lambda, arm64 costs a fifth less than x86_64.
ARCH ?= arm64

# stage <profile>: copies the functions of a cargo profile to where template.yaml expects them.
stage = for name in $(FUNCTIONS); do mkdir -p target/lambda/$$name \
  && install -m 755 target/$(1)/$$name target/lambda/$$name/bootstrap || exit 1; done

# Builds the whole workspace at once: a selection of packages would have other dependency features, and would build the
# AWS SDK again.
functions: ## Build everything for the local AWS (quick to build)
	cargo build --profile local --workspace
	@$(call stage,local)

build: doctor ## Build the functions for AWS (small and fast; takes minutes): make build [ARCH=arm64|x86_64] [ONLY=backfill-shard]
	@$(PYTHON) local/build.py $(ARCH) $(ONLY)

deploy: build ## Deploy to your AWS account: make deploy [STACK=...] [REGION=...] [PARAMETERS="KEY=VALUE ..."] [PROTECT=on|off]
	@$(PYTHON) local/deploy.py --stack '$(STACK)' --region '$(REGION)' --arch $(ARCH) \
	  --parameters '$(PARAMETERS)' --protect '$(PROTECT)' -- $(SAM_ARGS)

tandem: doctor ## Install the tandem command into cargo's folder of commands
	cargo install --locked --path cli

# ---- The machine ----------------------------------------------------------------------------------

doctor: ## Check that this machine has the required programs
	@$(CLOUD) doctor

install: ## Install the local AWS and SAM into .local/
	@$(CLOUD) install

clean: ## Remove everything that was built or installed here
	@$(CLOUD) down --all
	rm -rf target .local
