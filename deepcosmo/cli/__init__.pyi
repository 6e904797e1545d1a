from . import arguments as arguments, commands as commands, drawn_files as drawn_files, program as program
from .program import main as main
