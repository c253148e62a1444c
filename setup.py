"""Maps the top-level folders into the one import namespace `towerzoo`.

The folder names alone would collide in site-packages (`datasets` is taken), so `registry/` is installed and imported as
`towerzoo.registry`, and so on; `towerzoo/` itself holds the front door, `import towerzoo`.
"""

from setuptools import find_namespace_packages, setup

FOLDERS = ("registry", "datasets", "towers", "tools", "benchmarks", "configs")
NOT_PACKAGES = ["results*", "__pycache__", "*.__pycache__"]

packages = ["towerzoo"]
for folder in FOLDERS:
    packages.append(f"towerzoo.{folder}")
    packages += [f"towerzoo.{folder}.{name}" for name in find_namespace_packages(folder, exclude=NOT_PACKAGES)]

setup(
    packages=packages,
    package_dir={"towerzoo": "towerzoo"} | {f"towerzoo.{folder}": folder for folder in FOLDERS},
    package_data={"": ["*.pyi", "*.yaml", "*.j2", "*.html", "py.typed"]},
)
