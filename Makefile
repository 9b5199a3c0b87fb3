# make demo   installs what is needed into .venv, makes data, trains, tests and draws demo/out/detection.png
# make test   installs what is needed into .venv and runs the tests, a file on each core at a time
# Both take PYTHON=python3.12 or another interpreter (3.11, 3.12, 3.13).

PYTHON ?= python3
BIN := .venv/bin
DEMO := demo/out

.PHONY: demo test lint clean

.venv/installed: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: .venv/installed
	$(BIN)/python data/make_shapes.py $(DEMO)/shapes --train 500 --val 60 --size 192 --force
	$(BIN)/python tools/train.py detection/yolo_ms_demo_shapes --work-dir $(DEMO)/train --force
	$(BIN)/python tools/test.py detection/yolo_ms_demo_shapes $(DEMO)/train/best.pth --work-dir $(DEMO)/test
	$(BIN)/python demo/image_demo.py $(DEMO)/shapes/val detection/yolo_ms_demo_shapes $(DEMO)/train/best.pth --count 12 --score-thr 0.4 -o $(DEMO)/detection.png

test: .venv/installed
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf .venv build *.egg-info $(DEMO)
