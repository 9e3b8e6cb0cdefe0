"""``python -m interlat.cli``, which torchrun starts."""

import sys

from interlat.cli.main import main

sys.exit(main())
