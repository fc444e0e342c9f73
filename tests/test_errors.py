import pytest

from mmasl.errors import UserError, closest, command, did_you_mean


def test_a_command_returns_its_status(capsys):
    def main(argv):
        if argv == ['wrong']:
            raise UserError('two\n  lines')
        if argv == ['stop']:
            raise KeyboardInterrupt
        if argv == ['bug']:
            raise ValueError

    run = command(main)
    assert run([]) == 0
    assert capsys.readouterr().err == ''
    assert run(['wrong']) == 1
    assert capsys.readouterr().err == 'error: two lines\n'
    assert run(['stop']) == 130
    with pytest.raises(ValueError):
        run(['bug'])


def test_closest_looks_through_case():
    assert closest('ASYMMETRICLOS', ['FocalLoss', 'AsymmetricLoss']) == 'AsymmetricLoss'
    assert closest('zzz', ['FocalLoss']) is None
    assert did_you_mean('hed', ['head', 'neck']) == "; did you mean 'head'?"
    assert did_you_mean('zzz', []) == ''
