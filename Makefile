# Every target hands over to scripts/bootstrap.py, which says what it does and works without make:
#     python scripts/bootstrap.py lab
# Options for the program behind a target go in ARGS: `make lab ARGS="--port 9000"`.
# PYTHON names the Python to make the environment with: `make lab PYTHON=python3.12`.

.DEFAULT_GOAL := help
.PHONY: help lab test bench env dev lock clean

# Any Python from 3.6 on can start the script; it finds the one that the course needs.
define bootstrap
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python; do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 6))' >/dev/null 2>&1; then \
			exec "$$python" scripts/bootstrap.py $(1); \
		fi; \
	done; \
	echo 'sculpting-noise: there is no Python here. On Debian or Ubuntu run' \
		'`apt-get install python3 python3-venv`, on macOS `brew install python@3.12`.' >&2; \
	exit 1
endef

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' Makefile

lab: ## open JupyterLab on lesson 00 (the first time this installs the packages)
	$(call bootstrap,lab $(ARGS))

test: ## check style and types, run the tests and every notebook
	$(call bootstrap,test $(ARGS))

bench: ## measure speed, ours against diffusers
	$(call bootstrap,bench $(ARGS))

env: ## make the environment (.venv) and start nothing
	$(call bootstrap,env)

dev: ## the same, with the tools for tests
	$(call bootstrap,env dev)

lock: ## write requirements.lock anew (ARGS=--upgrade moves to the newest versions)
	$(call bootstrap,lock $(ARGS))

clean: ## delete the environment and the caches
	$(call bootstrap,clean)
