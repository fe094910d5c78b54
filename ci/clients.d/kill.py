def run(*_):
    raise RuntimeError("not there yet")
