#pragma once

#include <string>

#include "metrics/statistics.h"

namespace tessera {

/// A Gaussian with a square root of its covariance, made once and compared as often as wished.
struct FrechetSide {
  at::Tensor mean;  ///< [D] float64
  at::Tensor root;  ///< [D, R] float64 with root root^T = covariance; R is the covariance's rank
  double trace = 0;
};

/// Decomposes a covariance: by Cholesky where it is safely of full rank, by Cholesky with pivots where the count says
/// that its rank is less than half of D, else by eigenvectors. Directions without variance are dropped, not filled up:
/// eigenvalues or pivots below D * 2.2e-16 of the largest, and those beyond count - 1 where the count is known. D =
/// 2048 takes about a second by eigenvectors on two cores, a tenth or two otherwise. Throws Error naming `what` when it
/// is no covariance: wrong shapes, NaN, infinite, not symmetric, or with a negative eigenvalue that rounding to float32
/// does not explain.
FrechetSide frechet_side(const Gaussian& gaussian, const std::string& what);

/// The squared Frechet (2-Wasserstein) distance of two Gaussians, |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2)).
/// With S = F F^T the last trace is the sum of the singular values of F1^T F2, which needs no root of a singular
/// product: exact for covariances of any rank, never NaN, 0 for equal ones. Nothing is added to a diagonal. Throws
/// Error when the numbers of features differ. Source: Dowson & Landau 1982; FID: arXiv:1706.08500.
double frechet_distance(const FrechetSide& a, const FrechetSide& b);
double frechet_distance(const Gaussian& a, const Gaussian& b);

}  // namespace tessera
