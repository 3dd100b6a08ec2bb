module corefn/exported

go 1.19
