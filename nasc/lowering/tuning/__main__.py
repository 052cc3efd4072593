"""The program that runs candidates, see `trial_server`: python -m nasc.lowering.tuning."""

from profilers.runtimes import without_torch

if __name__ == "__main__":
    with without_torch():
        from nasc.lowering.tuning.trial_server import main
    main()
