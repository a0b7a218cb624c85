import hydra


def instantiate_each(section):
    return [hydra.utils.instantiate(entry) for entry in (section or {}).values() if entry]
