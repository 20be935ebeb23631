#include "weights/pickle_file.h"

#include "core/error.h"
#include "weights/file_map.h"
#include "weights/pickle.h"
#include "weights/torch_rebuild.h"

namespace tessera {

ArchiveValue read_pickle(const std::filesystem::path& path) {
  const std::string where = path.string();
  const FileMap map(path, "a pickle (.pkl)");
  if (!map.begins_with("\x80"))
    throw Error(where + ": want a pickle of protocol 2 to 5, as Python's pickle.dump writes it, found something else");
  const PickleHooks hooks{[&](const ArchiveValue&) -> ArchiveValue {
                            throw Error(where + ": its pickle refers to data outside of the file, so it is a part of " +
                                        "something else; want one that pickle.dump wrote by itself");
                          },
                          [&](const std::string& name, const std::vector<ArchiveValue>& arguments) {
                            return rebuild(name, arguments, where);
                          },
                          rebuild_numpy};
  return unpickle(map.bytes(), where, hooks).value;
}

}  // namespace tessera
