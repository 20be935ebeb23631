// The precompiled header of the whole project is built with this file.
