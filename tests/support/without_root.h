#pragma once

#include <unistd.h>

#include <cstdlib>
#include <stdexcept>

namespace tessera::test {

/// What root is not kept out of keeps this process out meanwhile.
class WithoutRoot {
 public:
  WithoutRoot() : user_(geteuid()) {
    constexpr uid_t kNobody = 65534;
    if (user_ == 0 && seteuid(kNobody) != 0) throw std::runtime_error("cannot become nobody");
  }
  ~WithoutRoot() {
    if (seteuid(user_) != 0) std::abort();
  }
  WithoutRoot(const WithoutRoot&) = delete;
  WithoutRoot& operator=(const WithoutRoot&) = delete;

 private:
  uid_t user_;
};

}  // namespace tessera::test
