"""`python -m lvlmscope`: the command line, where the script `lvlmscope` is not on the path."""

from lvlmscope.cli import main

if __name__ == "__main__":
    main()
