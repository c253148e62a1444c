from click.testing import CliRunner

from towerzoo.benchmarks.load.serving import main


def test_what_is_no_run_is_told(tmp_path):
    done = CliRunner().invoke(main, [str(tmp_path / "nowhere")])
    assert done.exit_code == 1
    assert f"error: {tmp_path / 'nowhere'} must be a run folder, got no such folder." in done.output
