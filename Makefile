# Every command a person runs. `make` alone lists them.

PYTHON ?= python3
CLOUD  := $(PYTHON) local/cloud.py
SAM     = .local/venv-sam/bin/sam

FUNCTIONS := configure-rule replicate-put replicate-delete backfill backfill-shard copy-parts
CRATES    := $(FUNCTIONS:%=-p %)

# Build outputs stay where the template and the scripts look for them, whatever the user's settings.
export CARGO_TARGET_DIR := $(CURDIR)/target
unexport CARGO_BUILD_TARGET
export PYTHONPYCACHEPREFIX := $(CURDIR)/.local/pycache

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo local local-down test acceptance fuzz chaos mutants bench bench-peers check fmt lint docs template scripts checkov functions build deploy tandem doctor install clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- See it work ----------------------------------------------------------------------------------

demo: export DEMO_DIR = $(DIR)
demo: doctor install functions ## Replicate a folder between two regions of a local AWS, and verify: make demo [DIR=folder]
	@set --; [ -z "$$DEMO_DIR" ] || set -- --dir "$$DEMO_DIR"; \
	  $(CLOUD) with --name demo -- target/local/tandem-demo "$$@"

local: doctor install functions ## Start a local AWS with Tandem in it, and say how to use it: make local [PORT=4566]
	@$(CLOUD) up $(if $(PORT),--port $(PORT))
	@$(CLOUD) deploy
	@$(CLOUD) guide

local-down: ## End what `make local` started
	@$(CLOUD) down

# ---- Check it -------------------------------------------------------------------------------------

# One failing test binary does not hide the results of the others. Property tests use the seed of .cargo/config.toml.
test: doctor install scripts functions ## Run all tests, whole flows on a local AWS among them: make test [ARGS=...]
	@$(CLOUD) with --name test --strict-s3 -- cargo test --profile local --workspace --no-fail-fast $(ARGS)

# On AWS: asks before it does anything; YES=1 does not. CLEAN=1 only removes what killed runs have left. LOCAL=1 is
# what `make test` runs too.
acceptance: export PYTHON := $(PYTHON)
acceptance: doctor install ## Try everything on your AWS account, and remove it: make acceptance [REGIONS=a,b] [PROFILE=...] [YES=1] [CLEAN=1] [LOCAL=1]
ifdef LOCAL
	@$(MAKE) --no-print-directory functions
	@$(CLOUD) with --name acceptance -- target/local/tandem-acceptance --local $(ARGS)
else
	@cargo build --profile local --workspace
	@$(if $(CLEAN),,$(MAKE) --no-print-directory build)
	@target/local/tandem-acceptance --arch $(ARCH) $(if $(REGIONS),--regions '$(REGIONS)') \
	  $(if $(PROFILE),--profile '$(PROFILE)') $(if $(YES),--yes) $(if $(CLEAN),--clean) $(ARGS)
endif

fuzz: doctor ## Run the property tests with fresh seeds; they keep what they find: make fuzz [MINUTES=10] [SEED=n] [ONLY=text]
	@$(PYTHON) local/fuzz.py --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED)) --only '$(ONLY)'

# A seed that nobody chose is shown, like every other, so that the run can be seen again.
chaos: SEED ?= $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
chaos: doctor install functions ## Everything at once, and everything failing, on a local AWS: make chaos [SEED=n] [MINUTES=10]
	@CHAOS_SEED=$(SEED) CHAOS_MINUTES=$(or $(MINUTES),10) $(CLOUD) with --name chaos -- \
	  cargo test --profile local --workspace --test chaos -- --nocapture

# The mutants of SHARD only, such as 1/4. A shard takes two hours at most.
mutants: doctor install functions ## Break the code and check that a test notices; takes hours: make mutants [SHARD=1/4] [SUITE=domain|process]
	@failed=0; run="$(PYTHON) local/mutants.py run --shard $(or $(SHARD),1/1) --suite"; \
	  [ '$(SUITE)' = process ] || $$run domain || failed=1; \
	  [ '$(SUITE)' = domain ] || $(CLOUD) with --name mutants --strict-s3 -- $$run process || failed=1; \
	  exit $$failed

# Those that `make build` has built are measured, where there are any.
bench: doctor install functions ## Measure the functions against an S3 in memory: make bench [ARGS="--quick --latency-ms 20"]
	@$(CLOUD) with --name bench -- target/local/tandem-bench functions $(ARGS)

bench-peers: doctor functions ## Measure rclone, s5cmd and s3sync the same way, where they are installed: make bench-peers [ARGS=...]
	@target/local/tandem-bench peers $(ARGS)

check: fmt-check lint docs template test ## Everything that has to pass: format, lints, docs, template, tests

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

scripts: install ## Check the scripts of the local AWS, and that it cannot reach a real one
	$(PYTHON) -m py_compile local/*.py
	$(PYTHON) -m unittest discover --start-directory local

checkov: ## Look for what is insecure in template.yaml (installs checkov, which is large; not part of `make check`)
	@$(CLOUD) install --checkov
	.local/venv-checkov/bin/checkov --config-file .checkov.yaml

.PHONY: deny advisories
deny: doctor ## Check versions, licences and sources of the crates used; builds cargo-deny the first time
	@$(PYTHON) local/deny.py crates

advisories: doctor ## Look for known vulnerabilities in the crates used (needs the network; not part of `make check`)
	@$(PYTHON) local/deny.py advisories

# ---- Build and deploy -----------------------------------------------------------------------------

# The processor of the functions on AWS. Lambda's own, arm64, costs a fifth less than x86_64.
ARCH ?= arm64

# stage <profile>: puts the functions of a cargo profile where template.yaml takes them from.
stage = for name in $(FUNCTIONS); do mkdir -p target/lambda/$$name \
  && install -m 755 target/$(1)/$$name target/lambda/$$name/bootstrap || exit 1; done

# The whole workspace at once: a choice of packages would have other dependency features, and with them
# build the AWS SDK again.
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

doctor: ## Check that this machine has what is needed
	@$(CLOUD) doctor

install: ## Install the local AWS and SAM into .local/
	@$(CLOUD) install

clean: ## Remove all that was built or installed here
	@$(CLOUD) down --all
	rm -rf target .local
