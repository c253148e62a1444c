from .model.dssm import DSSM as DSSM
from .model.tower import Tower as Tower
