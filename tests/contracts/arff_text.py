"""Two ARFF files: one dimension, and a relation."""

BEATS = """% one dimension
@RELATION Beats
@ATTRIBUTE att0 REAL
@attribute 'att 1' numeric
@attribute att2 numeric
@attribute target {1, 2}

@DATA
1,2,?,1
-1e2,5,6,2
"""


GAIT = r"""@relation Gait
@attribute Gait relational
  @attribute t0 numeric
  @attribute t1 numeric
  @attribute t2 numeric
@end Gait
@attribute activity {walking,'slow run'}
@data
'1,2,3\n4,5,?',walking
"7,8,9\n10,11,12",'slow run'
"""
