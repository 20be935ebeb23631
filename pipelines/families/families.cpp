#include "pipelines/families/families.h"

#include "pipelines/families/dit/family.h"
#include "pipelines/families/wan/family.h"

namespace tessera {

Families families() {
  static const Family table[] = {dit_family(), wan_family()};
  return table;
}

}  // namespace tessera
