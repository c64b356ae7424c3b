"""The order of tests: those that take long begin first, so that short ones fill the gaps of several processes."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: ("generated" not in item.keywords, "slow" not in item.keywords))
