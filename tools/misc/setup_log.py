"""Runs the commands of the set-up, and how it says that it cannot go on.

Part of ``setup_env.py``: standard library only.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time


class SetupError(Exception):
    """A set-up that cannot go on, for a reason the user can act on."""


class Log:
    """Runs commands into one log file and shows that they move; ``lock`` stays held by those that outlive us."""

    def __init__(self, path, lock):
        self.path, self.lock = path, lock

    def run(self, what, command, env=None):
        """Runs ``command``, printing the time and ninja's counter as it goes; raises with its last error line."""
        start, state = time.time(), {'counter': '', 'error': ''}
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=dict(os.environ, **(env or {})),
            pass_fds=[self.lock],
            start_new_session=True,
        )
        reader = threading.Thread(target=self._read, args=(process.stdout, command, state))
        reader.start()
        tty = sys.stdout.isatty()
        try:
            while True:
                reader.join(1 if tty else 30)
                if not reader.is_alive():
                    break
                line = '    {}: {:.0f} s {}'.format(what, time.time() - start, state['counter'])
                print('\r' + line if tty else line, end='' if tty else '\n', flush=True)
        except BaseException:  # an interrupt must not leave pip writing behind our back
            os.killpg(process.pid, signal.SIGKILL)
            raise
        if process.wait():
            reason = state['error'] or f'exit status {process.returncode}'
            raise SetupError(f'{what} failed: {reason} (whole output: {self.path})')
        print('{}    {}: {:.0f} s{}'.format('\r' if tty else '', what, time.time() - start, ' ' * 12), flush=True)

    def _read(self, stream, command, state):
        with open(self.path, 'ab') as log:
            log.write('\n$ {}\n'.format(' '.join(command)).encode())
            for line in stream:
                log.write(line)
                log.flush()
                text = line.decode(errors='replace').strip()
                counter = re.match(r'\[\d+/\d+\]', text)
                if counter:
                    state['counter'] = counter.group()
                if re.match(r'\w*(ERROR|Error): ', text) or 'fatal error:' in text:
                    state['error'] = text[:300]


def pip(*arguments):
    return [sys.executable, '-m', 'pip', '--disable-pip-version-check', *arguments]
